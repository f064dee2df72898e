"""torch.onnx, with and without dynamo, and transformers' own exporter."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

__all__ = ["EXPORTERS"]


def _load(checkpoint: Path, experts: str, attention: str = "sdpa") -> PreTrainedModel:
    """The model in the checkpoint's type, without a cache."""
    dtype = json.loads((checkpoint / "config.json").read_text())["dtype"]
    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=getattr(torch, dtype), attn_implementation=attention
    ).eval()
    model.set_experts_implementation(experts)
    model.config.use_cache = False
    return model


def _dynamo(checkpoint: Path, folder: Path, *, experts: str) -> Path:
    dynamic = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        program = torch.onnx.export(
            _load(checkpoint, experts, "eager"),
            (torch.zeros(2, 5, dtype=torch.int64),),
            dynamic_shapes={"input_ids": {0: dynamic, 1: dynamic}},
            dynamo=True,
            verbose=False,
            input_names=["input_ids"],
            output_names=["logits"],
        )
    path = folder / "model.onnx"
    program.save(path)
    return path


class _Logits(torch.nn.Module):
    """What TorchScript can trace: one output, and a mask, without which sequences are told apart by Diff."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return self.model(input_ids, attention_mask).logits


def _torchscript(checkpoint: Path, folder: Path, *, experts: str) -> Path:
    path = folder / "model.onnx"
    ids = torch.ones(2, 5, dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    with torch.no_grad():
        torch.onnx.export(
            _Logits(_load(checkpoint, experts, "eager")),
            (ids, ids),
            path,
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names},
            dynamo=False,
            verbose=False,
            opset_version=18,
        )
    return path


def _transformers(checkpoint: Path, folder: Path, *, experts: str, fusions: str | None = None) -> Path:
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    ids = torch.ones(2, 5, dtype=torch.int64)
    config = OnnxConfig(dynamic=True, ort_fusions=fusions)
    exported = OnnxExporter().export(
        _load(checkpoint, experts), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, config
    )
    path = folder / "model.onnx"
    OnnxExporter.save_program(exported.program, path)
    return path


EXPORTERS: dict[str, Callable[[Path, Path], Path]] = {
    "torch.onnx, batched_mm": functools.partial(_dynamo, experts="batched_mm"),
    "torch.onnx, eager": functools.partial(_dynamo, experts="eager"),
    "torch.onnx, grouped_mm": functools.partial(_dynamo, experts="grouped_mm"),
    "TorchScript, batched_mm": functools.partial(_torchscript, experts="batched_mm"),
    "TorchScript, eager": functools.partial(_torchscript, experts="eager"),
    "transformers, batched_mm": functools.partial(_transformers, experts="batched_mm"),
    "transformers, grouped_mm": functools.partial(_transformers, experts="grouped_mm"),
    "transformers, fused for CPU": functools.partial(_transformers, experts="grouped_mm", fusions="cpu"),
    "transformers, fused for CUDA": functools.partial(_transformers, experts="batched_mm", fusions="cuda"),
}
