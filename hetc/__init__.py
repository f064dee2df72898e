"""hetc compiles Mixture-of-Experts models for heterogeneous analog/digital hardware.

import hetc

bundle = hetc.compile("model.onnx", "model.hetc", digital_frac=0.25)
session = hetc.load_bundle("model.hetc").session(mode="noisy", seed=1)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hetc.bake import bake_bundle
    from hetc.bundle import Bundle, load_bundle
    from hetc.errors import HetcError
    from hetc.huggingface.export import export
    from hetc.partition import partition_bundle
    from hetc.pipeline import compile
    from hetc.plan import Plan
    from hetc.profile import Profile, load_profile

__version__ = "0.1.0"

_HOMES = {
    "Bundle": "hetc.bundle",
    "HetcError": "hetc.errors",
    "Plan": "hetc.plan",
    "Profile": "hetc.profile",
    "bake_bundle": "hetc.bake",
    "compile": "hetc.pipeline",
    "export": "hetc.huggingface.export",
    "load_bundle": "hetc.bundle",
    "load_profile": "hetc.profile",
    "partition_bundle": "hetc.partition",
}

__all__ = [
    "Bundle",
    "HetcError",
    "Plan",
    "Profile",
    "__version__",
    "bake_bundle",
    "compile",
    "export",
    "load_bundle",
    "load_profile",
    "partition_bundle",
]


def __getattr__(name: str) -> Any:
    """Loads public names on first use, so that `hetc --help` needs neither onnx nor numpy."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hetc' has no attribute {name!r}")
