"""What is in a model, plan, bundle or file of scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Union

from hetc.bundle.bundle import Bundle
from hetc.compiler.loading import open_placed
from hetc.model.load import LoadedModel
from hetc.model.vision_file import find_vision
from hetc.passes.analysis.find_units import find_units, model_parameters
from hetc.passes.analysis.outside_units import find_outside
from hetc.passes.analysis.unit_arithmetic import unit_arithmetic
from hetc.plan.arithmetic import Arithmetic
from hetc.plan.finding import Finding
from hetc.plan.plan import Plan
from hetc.plan.scores import Scores, load_scores
from hetc.plan.units import Unit

__all__ = ["ModelUnits", "inspect"]

UNIT_KEYS = ("id", "kind", "layer", "expert", "parameters", "counted", "unsupported")


@dataclass(frozen=True)
class ModelUnits:
    """What a model is made of.

    Attributes:
        parameters: All its parameters, embedding and norms included.
        units: What can be placed, in model order.
        findings: What wasn't recognised, or had to be rewritten.
        arithmetic: What numbers units are stored as, and what digital ones compute in.
    """

    parameters: int
    units: Sequence[Unit]
    findings: Iterable[Finding] = ()
    arithmetic: Sequence[Arithmetic] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model_parameters": self.parameters,
            "units": [{key: getattr(unit, key) for key in UNIT_KEYS} for unit in self.units],
            "findings": [asdict(finding) for finding in self.findings],
            "arithmetic": [asdict(one) for one in self.arithmetic],
        }


def inspect(path: str | Path) -> Union[Plan, Scores, ModelUnits]:
    """Reads what a path leads to, whatever it is.

        >>> import hetc
        >>> found = hetc.inspect("samples/tiny_moe/model.onnx")
        >>> len(found.units), found.parameters
        (74, 5717200)

    Args:
        path: A model, bundle, plan.json, or a file of scores or a calibration.

    Returns:
        The plan of a bundle or plan.json; the scores of a file of scores or a calibration; the units of a
        model.

    Raises:
        UsageError: Nothing is there, or something else.
        InvalidInputError: It cannot be read.
    """
    path = Path(path)
    if path.suffix == ".safetensors" and path.is_file():
        return load_scores(path)
    opened = open_placed(path, any_spelling=True)
    if not isinstance(opened, LoadedModel):
        return opened.plan if isinstance(opened, Bundle) else opened
    units: tuple[Unit, ...] = ()
    if not opened.findings or any(finding.raised for finding in opened.findings):
        units = find_units(opened.model)
    findings = (
        *opened.findings,
        *find_outside(opened.model),
        *find_vision(opened.model, opened.folder),
    )
    arithmetic = unit_arithmetic(opened.model, units)
    return ModelUnits(model_parameters(opened.model), units, findings, arithmetic)
