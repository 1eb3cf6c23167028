"""One script for each peer's own model format; every one starts from the same checkpoint."""
