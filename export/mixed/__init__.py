"""Mixed precision: eight bits for the matrices that need them, four for the others.

Owns how sensitive each matrix is, which ones are widened, and the search for a size or a divergence. How a
matrix is rounded and how a graph holds it is not known here.
"""
