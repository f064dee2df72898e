"""Runs a plan on a live transformers model, on a CPU or a GPU, with the draws of the kernels."""
