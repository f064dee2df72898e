"""Exports of one configuration share a trace: it sees neither weights nor files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
import pytest

from hetc.huggingface.export.export import export

__all__ = ["traced_once"]

exporting = sys.modules[export.__module__]


def traced_once() -> Iterator[None]:
    """For a fixture of a module."""
    traced: dict[str, ir.Model] = {}
    trace = exporting.trace

    def trace_once(skeleton: Any, cache: Any) -> ir.Model:
        key = skeleton.config.to_json_string()
        if key not in traced:
            traced[key] = trace(skeleton, cache)
        return traced[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "trace", trace_once)
        yield
