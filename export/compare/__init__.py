"""`python -m export compare A B C`: models side by side, to choose one by.

Owns what is compared and what comes of it in words. How a model is exported, run and judged is the export's.
"""
