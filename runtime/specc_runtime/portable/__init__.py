"""Models in operations that torch.export and ONNX know: what is exported of a model."""
