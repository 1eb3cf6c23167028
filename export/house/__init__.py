"""The embedded chat model: its corpus, its training and its measures.

Owns everything from the first written sentence to the checkpoint in `models/house/checkpoint`.
Knows nothing of ONNX, quantization or serving: those start from the checkpoint's folder.
"""
