"""What Lambda runs. Imports nothing from `export`, and neither torch, transformers, onnx nor optimum."""
