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
    from hetc.bundle.doctor import doctor
    from hetc.bundle.partition import partition_bundle
    from hetc.bundle.verify import verify
    from hetc.compiler.compare import compare
    from hetc.compiler.compile import compile
    from hetc.compiler.costs import cost
    from hetc.compiler.explanation import explain
    from hetc.compiler.inspection import inspect
    from hetc.compiler.mitigation import mitigate
    from hetc.compiler.placement import Placement
    from hetc.compiler.recording import calibrate
    from hetc.costing.profile import built_in_costs, load_costs
    from hetc.evaluation.evaluate import evaluate
    from hetc.evaluation.mlflow_runs import log_results
    from hetc.evaluation.run import run
    from hetc.evaluation.sweep import sweep
    from hetc.hardware.aihwkit_profile import from_aihwkit
    from hetc.hardware.profile import Profile, built_in_profiles, load_profile
    from hetc.huggingface.export.export import export
    from hetc.huggingface.live.sensitivity import score
    from hetc.model.token_files import read_tokens, tokens
    from hetc.plan.plan import Plan
    from hetc.reporting.write import report
    from hetc.tuning.adaptive_session import open_adaptive
    from hetc.tuning.tune import tune

_HOMES = {
    "Bundle": "hetc.bundle.bundle",
    "HetcError": "hetc.base.errors",
    "Placement": "hetc.compiler.placement",
    "Plan": "hetc.plan.plan",
    "Profile": "hetc.hardware.profile",
    "bake_bundle": "hetc.bundle.bake",
    "built_in_costs": "hetc.costing.profile",
    "built_in_profiles": "hetc.hardware.profile",
    "calibrate": "hetc.compiler.recording",
    "compare": "hetc.compiler.compare",
    "compile": "hetc.compiler.compile",
    "cost": "hetc.compiler.costs",
    "doctor": "hetc.bundle.doctor",
    "evaluate": "hetc.evaluation.evaluate",
    "explain": "hetc.compiler.explanation",
    "export": "hetc.huggingface.export.export",
    "from_aihwkit": "hetc.hardware.aihwkit_profile",
    "inspect": "hetc.compiler.inspection",
    "load_bundle": "hetc.bundle.bundle",
    "load_costs": "hetc.costing.profile",
    "load_profile": "hetc.hardware.profile",
    "log_results": "hetc.evaluation.mlflow_runs",
    "mitigate": "hetc.compiler.mitigation",
    "open_adaptive": "hetc.tuning.adaptive_session",
    "partition_bundle": "hetc.bundle.partition",
    "read_tokens": "hetc.model.token_files",
    "report": "hetc.reporting.write",
    "run": "hetc.evaluation.run",
    "score": "hetc.huggingface.live.sensitivity",
    "sweep": "hetc.evaluation.sweep",
    "tokens": "hetc.model.token_files",
    "tune": "hetc.tuning.tune",
    "verify": "hetc.bundle.verify",
}

__all__ = [
    "Bundle",
    "HetcError",
    "Placement",
    "Plan",
    "Profile",
    "__version__",
    "bake_bundle",
    "built_in_costs",
    "built_in_profiles",
    "calibrate",
    "compare",
    "compile",
    "cost",
    "doctor",
    "evaluate",
    "explain",
    "export",
    "from_aihwkit",
    "inspect",
    "load_bundle",
    "load_costs",
    "load_profile",
    "log_results",
    "mitigate",
    "open_adaptive",
    "partition_bundle",
    "read_tokens",
    "report",
    "run",
    "score",
    "sweep",
    "tokens",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Loads public names on first use, so that `hetc --help` needs neither onnx nor numpy."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hetc' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
