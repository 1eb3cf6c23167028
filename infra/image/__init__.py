"""The container image, and the stack whose function it is."""
