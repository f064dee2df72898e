"""The training script, at a size that trains in seconds; its numbers are those of nobody's model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from places import ROOT  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("options", [[], ["--bfloat16"]])
def test_toy_size(tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, str(ROOT / "samples" / "tiny_moe" / "train.py"), "--size", "toy"]
    command += ["--steps", "3", "--device", "cpu", "-o", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "training.json").read_text())
    assert measured["steps"] == 3
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert (model.config.num_experts, model.config.num_experts_per_tok) == (4, 2)
    tokens = torch.from_numpy(np.load(tmp_path / "heldout.npz")["tokens"][: 64 * 32].astype(np.int64))
    with torch.no_grad():
        loss = model(tokens.reshape(64, 32), labels=tokens.reshape(64, 32)).loss
    assert abs(float(loss) - measured["heldout_nats"]) < 0.2
