"""Dormouse beside its peers: one interleaved run on one machine. See `make bench`."""
