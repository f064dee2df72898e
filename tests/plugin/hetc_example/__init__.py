"""A score, a noise model and a spelling that hetc doesn't have."""
