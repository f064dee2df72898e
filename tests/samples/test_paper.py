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


SBATCH = """#!/usr/bin/env bash
echo "$*" >> "$PWD/submitted"
while [ $# -gt 0 ]; do
  case $1 in
    --array=1-*) last=${1#--array=1-} ;;
    --wrap) body=$2 ;;
  esac
  shift
done
for task in $(seq 1 "${last:-1}"); do
  SLURM_ARRAY_TASK_ID=$task bash -euc "$body" >> "$PWD/said" 2>&1 || exit 1
done
wc -l < "$PWD/submitted"
"""
"""Does at once what the real one does later, and prints a number."""


def small_samples(name: str, folder: Path) -> Path:
    """A folder with samples/paper, its sweep scaled down, and what makes it run."""
    (folder / "samples").mkdir()
    shutil.copytree(ROOT / "samples" / "paper", folder / "samples" / "paper")
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    spec = folder / "samples" / "paper" / f"{name}.toml"
    text = spec.read_text()
    for old, new in SCALED_DOWN:
        assert old in text
        text = text.replace(old, new)
    spec.write_text(text)
    return folder


def small_checkpoint(name: str, folder: Path) -> Path:
    """A checkpoint of random weights and tokens of text, where the samples look for them."""
    import hetc.huggingface.deepseek  # noqa: F401  # registers the family

    made = folder / "build" / "paper" / name
    config = transformers.AutoConfig.for_model(**SMALL[name], bos_token_id=0, eos_token_id=0)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.normal_(mean=float(parameter.dim() == 1), std=0.1)
    model.save_pretrained(made / "checkpoint")
    shutil.copy(ROOT / "samples" / "tiny_moe" / "tokenizer.json", made / "checkpoint")
    prose = folder / "prose.txt"
    prose.write_text((ROOT / "docs" / "design.md").read_text("utf-8"))
    tokens = [folder / "samples" / "paper" / "tokens.py", made / "checkpoint", made / "calibration.npz"]
    subprocess.run([sys.executable, *tokens, prose], check=True)
    found = np.load(made / "calibration.npz")["tokens"]
    assert 1000 < len(found) <= 65_536
    np.savez(made / "calibration.npz", tokens=found[:1024])
    return made


def paper(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The finished script, on a machine whose `sbatch` does everything at once."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "sbatch").write_text(SBATCH)
    (tools / "sbatch").chmod(0o755)
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "DEVICE": "cpu", "PATH": path}
    command = [folder / "samples" / "paper" / script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_without_a_checkpoint_nothing_is_estimated_or_submitted(tmp_path: Path) -> None:
    small_samples("olmoe", tmp_path)
    for script, *arguments in (("run", "--dry-run"), ("run", "--shard", "1/2"), ("slurm.sh", "2")):
        done = paper(tmp_path, script, "olmoe", *arguments)
        assert done.returncode == 2
        assert "build/paper/olmoe/checkpoint is not there yet" in done.stderr
        assert "hf download allenai/OLMoE-1B-7B-0924 --local-dir build/paper/olmoe" in done.stderr
    assert not (tmp_path / "submitted").exists()


@pytest.mark.slow
def test_a_cluster_does_shards_and_merges_them(tmp_path: Path) -> None:
    made = small_checkpoint("olmoe", small_samples("olmoe", tmp_path))
    done = paper(tmp_path, "slurm.sh", "olmoe", "2", "--partition=gpus")
    said = (tmp_path / "said").read_text()
    assert done.returncode == 0, said
    assert "submitted 1, 2 (1-2) and 3" in done.stdout
    first, second, third = (tmp_path / "submitted").read_text().splitlines()
    assert all("--gres=gpu:1" in line and "--partition=gpus" in line for line in (first, second, third))
    assert "--dependency=afterok:1 --array=1-2" in second and "--dependency=afterok:2 " in third
    assert "programming of the weights in shard 1/2" in said
    assert "jobs left to other shards: 1" in said and "shard 2/2 is done, and so is every job" in said
    assert "not measured" not in said
    assert (made / "report.html").is_file() and not (made / "results.parquet.partial").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_one_command_makes_tables_and_report(name: str, tmp_path: Path) -> None:
    made = small_checkpoint(name, small_samples(name, tmp_path))
    done = paper(tmp_path, "run", name)
    assert done.returncode == 0, done.stderr
    assert "2 programmings of the weights" in done.stdout
    rows = [line.split("|")[2].strip() for line in done.stdout.splitlines() if line.startswith("|")]
    ranked = [
        f"dense modules, 25.0% of experts by {score}"
        for score in ("maxnn", "activation-weight", "expected-loss")
    ]
    assert rows[-6:] == ["none", "dense modules", *ranked, "all"]
    assert "not measured" not in done.stdout
    assert (made / "report.html").is_file()
    kinds = {result.kind for result in read_results(made / "results.parquet")}
    assert kinds >= {"", "none", "expert", "all", "attention", "lm_head"}
