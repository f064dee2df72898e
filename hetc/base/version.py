"""The version of hetc, for plans, bundles and results to record."""

__all__ = ["__version__"]

__version__ = "0.1.0"
