"""The operators of domain ``hetc`` in NumPy: slow, obvious, and with the random numbers of the kernels."""

from hetc.runtimes.reference.aging import curve
from hetc.runtimes.reference.crossbar import Conversion, Crossbar, analog_matmul, convert
from hetc.runtimes.reference.expert import activate, analog_expert, expert
from hetc.runtimes.reference.layout import Layout, lay_out, split
from hetc.runtimes.reference.noise import add_noise, sigma, standard_normals, store
from hetc.runtimes.reference.philox import philox
from hetc.runtimes.reference.programming import program
from hetc.runtimes.reference.reading import hash_values

__all__ = [
    "Conversion",
    "Crossbar",
    "Layout",
    "activate",
    "add_noise",
    "analog_expert",
    "analog_matmul",
    "convert",
    "curve",
    "expert",
    "hash_values",
    "lay_out",
    "philox",
    "program",
    "sigma",
    "split",
    "standard_normals",
    "store",
]
