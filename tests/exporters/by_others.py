"""hetc itself, mobius, onnxruntime-genai's builder and optimum-onnx."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from packages import FOLDER

__all__ = ["EXPORTERS"]


def _hetc(checkpoint: Path, folder: Path) -> Path:
    from hetc.huggingface.export.export import export

    export(checkpoint, folder / "model")
    return folder / "model" / "model.onnx"


def _mobius(checkpoint: Path, folder: Path, *, provider: str = "default") -> Path:
    import mobius

    package = mobius.build(str(_with_stacks(checkpoint, folder)), execution_provider=provider)
    package.save(str(folder))
    return next(folder.rglob("model.onnx"))


def _with_stacks(checkpoint: Path, folder: Path) -> Path:
    """A DeepSeek checkpoint with stacks of experts, the only ones that mobius reads of that family."""
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    if not json.loads((checkpoint / "config.json").read_text())["model_type"].startswith("deepseek"):
        return checkpoint
    stacked = folder / "checkpoint"
    stacked.mkdir()
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="auto")
    save_file(dict(model.state_dict()), stacked / "model.safetensors")
    shutil.copyfile(checkpoint / "config.json", stacked / "config.json")
    return stacked


def _genai(checkpoint: Path, folder: Path, *, precision: str, provider: str = "cpu") -> Path:
    from onnxruntime_genai.models import builder

    arguments = ("", str(checkpoint), str(folder), precision, provider, str(folder / "cache"))
    with contextlib.redirect_stdout(io.StringIO()):
        options = builder.parse_extra_options(*arguments, ["hf_token=false"])
        builder.create_model(*arguments, **options)
    return folder / "model.onnx"


def _optimum(checkpoint: Path, folder: Path) -> Path:
    """In a process of its own, for it needs an older transformers."""
    dtype = json.loads((checkpoint / "config.json").read_text())["dtype"]
    short = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}[dtype]
    command = [sys.executable, "-m", "optimum.exporters.onnx", "--model", str(checkpoint), "--dtype", short]
    command += ["--task", "text-generation", "--no-post-process", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER / "optimum")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return folder / "model.onnx"


EXPORTERS: dict[str, Callable[[Path, Path], Path]] = {
    "hetc": _hetc,
    "mobius": _mobius,
    "mobius, for CPU": functools.partial(_mobius, provider="cpu"),
    "mobius, for CUDA": functools.partial(_mobius, provider="cuda"),
    "genai": functools.partial(_genai, precision="fp32"),
    "genai, int4": functools.partial(_genai, precision="int4"),
    "optimum": _optimum,
}
