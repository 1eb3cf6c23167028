"""Rounding that sees data: a calibration text runs through the model while its weights are rounded.

Owns the text, the pass and the arithmetic. What comes out are codes and scales like those of rounding to the
nearest; how they get into a graph is not known here.
"""
