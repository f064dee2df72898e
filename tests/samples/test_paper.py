"""The paper's sweeps, on random weights of a scaled-down shape."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("lm_eval")

from places import ROOT  # noqa: E402

from hetc.evaluation.results_file import read_results  # noqa: E402

SMALL = {
    "olmoe": {
        "model_type": "olmoe",
        "vocab_size": 1024,
        "hidden_size": 32,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_experts": 8,
        "num_experts_per_tok": 2,
    },
    "deepseekmoe": {
        "model_type": "deepseek",
        "vocab_size": 1024,
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "n_routed_experts": 8,
        "n_shared_experts": 2,
        "first_k_dense_replace": 1,
        "num_experts_per_tok": 2,
    },
}
SCALED_DOWN = (
    ('device = "cuda"', f'device = "cpu"\ninclude_path = "{ROOT}/samples/tasks"\nlimit = 4'),
    ('tasks = ["paper"]', 'tasks = ["stdlib_next_line"]'),
    ("[0, 0.5, 1, 1.5, 2, 2.5]", "[0, 1.5]"),
    ("seeds = 4", "seeds = 1"),
    ("fractions = [0, 0.125, 0.25]", "fractions = [0.25]"),
    ('"random", "maxnn", "router-norm", "activation-frequency",', '"maxnn",'),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_one_command_makes_tables_and_report(name: str, tmp_path: Path) -> None:
    import hetc.huggingface.deepseek  # noqa: F401  # registers the family

    (tmp_path / "samples").mkdir()
    shutil.copytree(ROOT / "samples" / "paper", tmp_path / "samples" / "paper")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    spec = tmp_path / "samples" / "paper" / f"{name}.toml"
    text = spec.read_text()
    for old, new in SCALED_DOWN:
        assert old in text
        text = text.replace(old, new)
    spec.write_text(text)
    made = tmp_path / "build" / "paper" / name
    config = transformers.AutoConfig.for_model(**SMALL[name], bos_token_id=0, eos_token_id=0)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.normal_(mean=float(parameter.dim() == 1), std=0.1)
    model.save_pretrained(made / "checkpoint")
    shutil.copy(ROOT / "samples" / "tiny_moe" / "tokenizer.json", made / "checkpoint")
    prose = tmp_path / "prose.txt"
    prose.write_text((ROOT / "docs" / "design.md").read_text("utf-8"))
    tokens = [tmp_path / "samples" / "paper" / "tokens.py", made / "checkpoint", made / "calibration.npz"]
    subprocess.run([sys.executable, *tokens, prose], check=True)
    found = np.load(made / "calibration.npz")["tokens"]
    assert 1000 < len(found) <= 65_536
    np.savez(made / "calibration.npz", tokens=found[:1024])

    environment = {
        **os.environ,
        "DEVICE": "cpu",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [tmp_path / "samples" / "paper" / "run", name], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "2 programmings of the weights" in done.stdout
    rows = [line.split("|")[2].strip() for line in done.stdout.splitlines() if line.startswith("|")]
    ranked = [
        f"dense + 25.0% of experts by {score}" for score in ("maxnn", "activation-weight", "expected-loss")
    ]
    assert rows[-6:] == ["none", "dense modules", *ranked, "all"]
    assert "not measured" not in done.stdout
    assert (made / "report.html").is_file()
    kinds = {result.kind for result in read_results(made / "results.parquet")}
    assert kinds >= {"", "none", "expert", "all", "attention", "lm_head"}
