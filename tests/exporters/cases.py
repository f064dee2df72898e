"""The table's cases: which exporter writes which family, what is run over it, and what is refused for now."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import by_frameworks
import by_others
import by_torch
from checkpoints import FAMILIES, save_checkpoint
from packages import missing
from tools import TOOLS

__all__ = ["CASES", "COMPARED", "EXPORTERS", "Builder", "Case", "expected_refusal"]

EXPORTERS: dict[str, Callable[[Path, Path], Path]] = {
    **by_others.EXPORTERS,
    **by_torch.EXPORTERS,
    **by_frameworks.EXPORTERS,
}

PACKAGE_OF = {
    "mobius": "mobius",
    "optimum": "optimum",
    "Keras": "keras",
    "jax2onnx": "jax2onnx",
    "onnxslim": "onnxslim",
    "onnxsim": "onnxsim",
}
"""The package of an exporter or tool, by how its name begins, where hetc's environment doesn't have it."""


@dataclass(frozen=True)
class Case:
    """One model of the table.

    Attributes:
        exporter: a key of `EXPORTERS`.
        family: a key of `FAMILIES`, or "plain" for a framework's own model.
        precision: of the checkpoint.
        tool: a key of `TOOLS` that is run over what was exported; empty for none.
    """

    exporter: str
    family: str
    precision: str = "float32"
    tool: str = ""

    def __str__(self) -> str:
        return "; ".join(part for part in (self.exporter, self.family, self.precision, self.tool) if part)

    @property
    def missing(self) -> str:
        """The package that the case needs and that isn't there, with how to get it; empty if all are."""
        return next(
            (
                missing(package)
                for start, package in PACKAGE_OF.items()
                if self.exporter.startswith(start) or self.tool.startswith(start)
                if missing(package)
            ),
            "",
        )


COMPARED = ("deepseek_v2", "gpt_oss", "mixtral", "olmoe", "qwen2_moe")
"""The families whose units are the same by every exporter."""
SIMPLIFIERS = ("onnxslim", "onnxsim")


def _cases() -> Iterator[Case]:
    def every(
        exporter: str, families: Sequence[str], precision: str = "float32", tools: Sequence[str] = ("",)
    ) -> Iterator[Case]:
        for tool in tools:
            for family in families:
                yield Case(exporter, family, precision, tool)

    families = tuple(FAMILIES)
    # torch.onnx translates no complex numbers, of which DeepSeek-V2 makes its rotary embedding.
    of_torch = tuple(family for family in families if family != "deepseek_v2")
    real = tuple(family for family in COMPARED if family != "deepseek_v2")
    # mobius reads no other of these families' checkpoints, genai's builder and optimum know no others.
    of_mobius = (*COMPARED, "deepseek_v3", "granitemoe", "granitemoeshared", "qwen3_moe")
    of_genai = ("gpt_oss", "lfm2_moe")
    tools = tuple(TOOLS)
    yield from every("hetc", families)
    yield from every("hetc", COMPARED, "float16")
    yield from every("hetc", COMPARED, "bfloat16")
    yield from every("hetc", COMPARED, tools=tools)
    yield from every("torch.onnx, batched_mm", of_torch)
    yield from every("torch.onnx, batched_mm", ("mixtral", "olmoe", "qwen2_moe"), "float16")
    yield from every("torch.onnx, batched_mm", ("olmoe", "qwen2_moe"), tools=tools)
    yield from every("TorchScript, batched_mm", real)
    yield from every("transformers, grouped_mm", COMPARED)
    yield from every("transformers, batched_mm", ("olmoe",))
    yield from every("mobius", of_mobius)
    yield from every("mobius", ("mixtral", "olmoe", "qwen2_moe"), "float16")
    yield from every("mobius", ("olmoe", "qwen2_moe"), tools=tools)
    yield from every("mobius, for CPU", real)
    yield from every("genai", of_genai)
    yield from every("genai, int4", ("lfm2_moe",))
    yield from every("optimum", ("qwen3_moe",))
    yield from every("optimum", ("qwen3_moe",), tools=SIMPLIFIERS)
    for exporter in by_frameworks.EXPORTERS:
        yield from every(exporter, ("plain",))


CASES = tuple(_cases())

# Exporter and tool, and key words of the reason that hetc gives.
REFUSALS: dict[tuple[str, str], str] = {
    # Its fused Attention becomes a QAttention with more results than ONNX Runtime knows of.
    ("mobius", "quantize_dynamic"): "not a valid ONNX model",
}
# gpt-oss alone: what these tools make of our export's experts.
REFUSED_GPT_OSS = ("onnxslim", "session, extended", "session, all", "float16 by ONNX Runtime")


def expected_refusal(case: Case) -> str | None:
    """Key words of the reason that hetc refuses a case for; None if it is to compile and be equal."""
    if (case.exporter, case.family) == ("hetc", "gpt_oss") and case.tool in REFUSED_GPT_OSS:
        return "a spelling that hetc doesn't know"
    return REFUSALS.get((case.exporter, case.tool))


class Builder:
    """Builds cases in a folder. What several cases start from is built once.

    Args:
        folder: where models and checkpoints are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self, case: Case) -> Path:
        """The path of a case's model."""
        exported = self.exported(case.exporter, case.family, case.precision)
        if not case.tool:
            return exported
        target = exported.with_name(f"{case.tool.replace(' ', '_')}.onnx")
        if not target.is_file():
            TOOLS[case.tool](exported, target)
        return target

    @functools.cache  # noqa: B019  one builder is kept as long as its folder
    def exported(self, exporter: str, family: str, precision: str) -> Path:
        """The path of a model as an exporter wrote it."""
        checkpoint = self.folder / "checkpoints" / f"{family}-{precision}"
        if family in FAMILIES and not checkpoint.is_dir():
            save_checkpoint(family, precision, checkpoint)
        folder = self.folder / exporter.replace(",", "").replace(" ", "_") / f"{family}-{precision}"
        found = folder / "exported.txt"
        if found.is_file():
            return Path(found.read_text("utf-8"))
        folder.mkdir(parents=True, exist_ok=True)
        path = EXPORTERS[exporter](checkpoint, folder)
        found.write_text(str(path), "utf-8")
        return path
