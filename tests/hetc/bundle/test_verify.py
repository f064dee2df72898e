"""What `hetc verify` looks at, beyond what commands' tests see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
from command_line import SAMPLE
from spelled_layers import spell

import hetc
from hetc.bundle import verify as module

LAST_SEED = 2**63 - 1


def test_the_last_seed(tmp_path: Path) -> None:
    """The seeds that are compared with it begin at 0 again."""
    bundle = hetc.compile(SAMPLE / "model.onnx", tmp_path / "bundle", seed=LAST_SEED)
    assert {check.status for check in hetc.verify(bundle, seeds=3)} == {"ok"}
    baked = hetc.bake_bundle(bundle, tmp_path / "baked")
    assert baked.plan.seed == baked.baked["seed"] == LAST_SEED  # type: ignore[index]
    assert "failed" not in {check.status for check in hetc.verify(baked)}


def test_layers_that_were_tried(tmp_path: Path) -> None:
    """What was seen on their true weights is a check of its own."""
    model, _ = spell("sorted_split")
    ir.save(model, tmp_path / "model.onnx")
    bundle = hetc.compile(tmp_path / "model.onnx", tmp_path / "bundle")
    (check,) = [check for check in hetc.verify(bundle) if check.name == "canonical layers = source's"]
    assert check.status == "ok"
    assert "1 layers recognised by trial, compared on their true weights" in check.detail


@pytest.mark.parametrize("language", [True, False])
def test_short_and_long_sequences(language: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact mode is compared with the source at several lengths, for a layer of its own too."""
    source = SAMPLE / "model.onnx"
    if not language:
        source = tmp_path / "model.onnx"
        ir.save(spell("sorted_split")[0], source)
    bundle = hetc.compile(source, tmp_path / "bundle")
    run_model, lengths = module.run_model, set()

    def noted(session: Any, outputs: Any, feeds: dict[str, Any]) -> Any:
        lengths.add(next(iter(feeds.values())).shape[1])
        return run_model(session, outputs, feeds)

    monkeypatch.setattr(module, "run_model", noted)
    checks = {check.name: check.status for check in hetc.verify(bundle, seeds=2)}
    assert checks["exact mode = source"] == "ok"
    assert lengths >= ({64, 1} if language else {2, 1, 512})
