"""A noise model with hardly any noise."""

from hetc.hardware.noise_models import NoiseModel

QUIET = NoiseModel("quiet", "gaussian", (0.001,), "made up for a test")
