"""hetc compiles Mixture-of-Experts models for heterogeneous analog/digital hardware.

import hetc

bundle = hetc.compile("model.onnx", "model.hetc", digital_frac=0.25)
session = hetc.load_bundle("model.hetc").session(mode="noisy", seed=1)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hetc.base.version import __version__

if TYPE_CHECKING:
    from hetc.base.errors import HetcError
    from hetc.bundle.bake import bake_bundle
    from hetc.bundle.bundle import Bundle, load_bundle
    from hetc.bundle.partition import partition_bundle
    from hetc.compiler.pipeline import compile
    from hetc.hardware.profile import Profile, load_profile
    from hetc.huggingface.export.export import export
    from hetc.plan.plan import Plan

_HOMES = {
    "Bundle": "hetc.bundle.bundle",
    "HetcError": "hetc.base.errors",
    "Plan": "hetc.plan.plan",
    "Profile": "hetc.hardware.profile",
    "bake_bundle": "hetc.bundle.bake",
    "compile": "hetc.compiler.pipeline",
    "export": "hetc.huggingface.export.export",
    "load_bundle": "hetc.bundle.bundle",
    "load_profile": "hetc.hardware.profile",
    "partition_bundle": "hetc.bundle.partition",
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
