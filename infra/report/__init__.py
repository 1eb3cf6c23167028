"""What a day cost and how it felt, from the stack's logs alone."""
