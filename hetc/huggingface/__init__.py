"""From a Hugging Face checkpoint to ONNX in the canonical MoE layer; needs the extra `export`."""
