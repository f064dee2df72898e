"""The sample, baked, has the loss of the noisy session in runtimes that don't have the library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command_line import SAMPLE

from hetc.bundle.bake import bake_bundle
from hetc.bundle.bundle import Bundle
from hetc.compiler.compile import compile
from hetc.model.inputs import first_step
from hetc.runtimes.onnxruntime.session import open_session

SEED = 3
WINDOWS, CONTEXT = 32, 256
"""8,160 teacher-forced tokens: the first of each window is not predicted."""
ALLOWED = 1e-3
"""Nats."""
RUNNER = """
const ort = require("onnxruntime-node"), fs = require("fs");
const [model, job] = process.argv.slice(2);
const types = {int64: BigInt64Array, float32: Float32Array};
(async () => {
  const session = await ort.InferenceSession.create(model), feeds = {};
  for (const {name, file, type, dims} of JSON.parse(fs.readFileSync(job))) {
    const bytes = fs.readFileSync(file);
    feeds[name] = new ort.Tensor(type, new types[type](new Uint8Array(bytes).buffer), dims);
  }
  const {logits} = await session.run(feeds, ["logits"]);
  const {buffer, byteOffset, byteLength} = logits.data;
  fs.writeFileSync("logits.bin", new Uint8Array(buffer, byteOffset, byteLength));
})().catch(error => { console.error(error); process.exit(1); });
"""


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    held_out = np.load(SAMPLE / "heldout.npz")["tokens"]
    return held_out[: WINDOWS * CONTEXT].reshape(WINDOWS, CONTEXT)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    noisy = compile(SAMPLE / "model.onnx", folder / "noisy", digital_frac=0, analog=["*.attention"])
    return noisy, bake_bundle(noisy, folder / "baked", seed=SEED, threads=2)


@pytest.fixture(scope="module")
def noisy_loss(bundles: tuple[Bundle, Bundle], tokens: np.ndarray) -> float:
    session = bundles[0].session(seed=SEED, threads=2)
    return loss(session.run(["logits"], first_step(session, tokens))[0], tokens)


def loss(logits: np.ndarray, tokens: np.ndarray) -> float:
    """Mean next-token loss in nats."""
    logits, following = logits[:, :-1], tokens[:, 1:, None].astype(np.int64)
    chosen = np.take_along_axis(logits, following, axis=-1)[..., 0]
    return float((np.logaddexp.reduce(logits, axis=-1) - chosen).mean())


@pytest.mark.slow
@pytest.mark.parametrize("library", [True, False])
def test_in_onnxruntime(
    bundles: tuple[Bundle, Bundle], tokens: np.ndarray, noisy_loss: float, library: bool
) -> None:
    clean = bundles[0].session(mode="converters", threads=2)
    clean_loss = loss(clean.run(["logits"], first_step(clean, tokens))[0], tokens)
    assert abs(clean_loss - noisy_loss) > 3 * ALLOWED
    session = open_session(bundles[1].path / "model.onnx", library=library, threads=2)
    baked_loss = loss(session.run(["logits"], first_step(session, tokens))[0], tokens)
    assert abs(baked_loss - noisy_loss) <= ALLOWED


@pytest.mark.slow
def test_in_onnxruntime_node(
    bundles: tuple[Bundle, Bundle], tokens: np.ndarray, noisy_loss: float, tmp_path: Path
) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node.js is not installed")
    (tmp_path / "package.json").write_text("{}")
    installed = subprocess.run(
        ["npm", "install", "onnxruntime-node"],
        cwd=tmp_path,
        env={**os.environ, "ONNXRUNTIME_NODE_INSTALL": "skip"},
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"onnxruntime-node cannot be installed: {installed.stderr[-200:]}")
    model = bundles[1].path / "model.onnx"
    job = []
    for name, values in first_step(open_session(model, library=False), tokens).items():
        values.tofile(tmp_path / f"{name}.bin")
        job.append({"name": name, "file": f"{name}.bin", "type": str(values.dtype), "dims": values.shape})
    (tmp_path / "job.json").write_text(json.dumps(job))
    (tmp_path / "runner.js").write_text(RUNNER)
    ran = subprocess.run(
        ["node", "runner.js", str(model), "job.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    logits = np.fromfile(tmp_path / "logits.bin", np.float32).reshape(WINDOWS, CONTEXT, -1)
    assert abs(loss(logits, tokens) - noisy_loss) <= ALLOWED
