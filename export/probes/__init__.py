"""Probes of bias and safety: what a finished bundle prefers, refuses and obeys, beside the unquantized model.

Likelihoods of short texts written for this project (the TOML files here), in English and Chinese. Judges
nothing: a number says where to look, and each section says what it does not say.
"""
