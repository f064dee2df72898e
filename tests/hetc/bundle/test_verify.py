"""What `hetc verify` looks at, beyond what commands' tests see."""

from __future__ import annotations

from pathlib import Path

from command_line import SAMPLE

import hetc

LAST_SEED = 2**63 - 1


def test_the_last_seed(tmp_path: Path) -> None:
    """The seeds that are compared with it begin at 0 again."""
    bundle = hetc.compile(SAMPLE / "model.onnx", tmp_path / "bundle", seed=LAST_SEED)
    assert {check.status for check in hetc.verify(bundle, seeds=3)} == {"ok"}
    baked = hetc.bake_bundle(bundle, tmp_path / "baked")
    assert baked.plan.seed == baked.baked["seed"] == LAST_SEED  # type: ignore[index]
    assert "failed" not in {check.status for check in hetc.verify(baked)}
