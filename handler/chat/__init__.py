"""The use cases: load, fit, generate, commit. Everything between a checked request and an answer.

Knows the order of things and nothing of HTTP, AWS events, databases or tensors.
"""
