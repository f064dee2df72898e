"""The torch runtime's kernels in Triton: programming, DAC, and products of many matrices in one launch."""
