"""A conversation mix against execution environments of one vCPU each, placed as Lambda places them."""
