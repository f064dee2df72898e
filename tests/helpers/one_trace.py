"""Exports of one configuration share a trace in a process: it sees neither weights nor files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
import pytest

from hetc.huggingface.export.export import export

__all__ = ["traced_once"]

exporting = sys.modules[export.__module__]
TRACED: dict[str, ir.Model] = {}


def traced_once() -> Iterator[None]:
    """For a fixture of a module."""
    trace = exporting.trace

    def trace_once(skeleton: Any, cache: Any) -> ir.Model:
        settings = json.loads(skeleton.config.to_json_string())
        settings.pop("dtype", None)  # that of the checkpoint: it is traced in float32
        key = json.dumps(settings, sort_keys=True)
        if key not in TRACED:
            TRACED[key] = trace(skeleton, cache)
        return TRACED[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "trace", trace_once)
        yield
