"""Hashes of what hetc makes of the samples, to show that a change of the code changes no result.

    python benchmarks/same_bits.py before.json            # on the commit before
    python benchmarks/same_bits.py --compare before.json  # on the commit after

For both samples, at fractions 0, 0.25 and 1, with and without calibration, with a budget and with pins: the
sha256 of `plan.json` (less hetc's version), `model.onnx`, `model.portable.onnx`, every weight file, and of
the noisy logits of seed 7; besides of the calibration and of a baked bundle's weights. The script calls only
what users call, so that it runs on any commit. Both runs must happen on one machine: its processor decides
which kernels run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import hetc

ROOT = Path(__file__).parents[1]
SAMPLES = ("tiny_moe", "tiny_deepseek")
PLACEMENTS = {
    "fraction 0": ("--digital-frac", "0"),
    "fraction 0.25": ("--digital-frac", "0.25"),
    "fraction 1": ("--digital-frac", "1"),
    "budget": ("--budget", "parameters:40%"),
    "energy": ("--budget", "energy:9mJ"),
    "pins": ("--digital", "layers.1.experts.3", "--analog", "lm_head", "--ranking", "model"),
    "noise": ("--noise", "hermes", "--noise-scale", "2", "--score", "router-norm"),
}
CALIBRATED = ("--calibration", "{calibration}", "--range", "std:12", "--adc-bound", "std:8")


def main() -> int:
    """Writes the hashes, or compares them with those that were written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path, help="JSON file to write, or to compare with")
    parser.add_argument("--compare", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {key: value for name in SAMPLES for key, value in hashes(name, Path(folder)).items()}
    if not arguments.compare:
        arguments.file.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{len(found)} hashes in {arguments.file}")
        return 0
    before = json.loads(arguments.file.read_text())
    changed = [key for key in {**before, **found} if before.get(key) != found.get(key)]
    print("\n".join(f"changed: {key}" for key in changed) or f"all {len(found)} hashes are the same")
    return 1 if changed else 0


def hashes(sample: str, folder: Path) -> dict[str, str]:
    """The hashes of everything that is made of one sample."""
    model = f"samples/{sample}/model.onnx"
    windows = (
        np.load(ROOT / f"samples/{sample}/heldout.npz")["tokens"]
        .reshape(-1)[:512]
        .reshape(2, 256)
        .astype(np.int64)
    )
    data, calibration = folder / "tokens.npz", folder / f"{sample}.calibration.safetensors"
    np.savez(data, tokens=np.load(ROOT / f"samples/{sample}/calibration.npz")["tokens"].reshape(-1)[:4096])
    run("calibrate", model, "--data", str(data), "-o", str(calibration))
    found = {f"{sample}, calibration": digest(calibration.read_bytes())}
    for name, options in PLACEMENTS.items():
        for calibrated in (False, True):
            more = [part.format(calibration=calibration) for part in CALIBRATED] if calibrated else []
            bundle = folder / f"{sample}-{len(found)}.hetc"
            run("compile", model, *options, *more, "-o", str(bundle))
            where = f"{sample}, {name}{', calibrated' if calibrated else ''}"
            found |= {f"{where}, {file}": value for file, value in of_bundle(bundle, windows).items()}
    baked = folder / f"{sample}-baked"
    run("bake", str(bundle), "--seed", "7", "-o", str(baked))
    found |= {f"{sample}, baked, {file}": value for file, value in of_files(baked).items()}
    return found


def tokens(sample: str, name: str, count: int) -> np.ndarray:
    """The first tokens of one of a sample's files."""
    return np.load(ROOT / "samples" / sample / f"{name}.npz")["tokens"].reshape(-1)[:count].astype(np.int64)


def of_bundle(bundle: Path, windows: np.ndarray) -> dict[str, str]:
    """Hashes of a bundle's files, and of what it computes."""
    session = hetc.load_bundle(bundle).session(seed=7, threads=2)
    feeds = {}
    for value in session.get_inputs():
        if value.name == "input_ids":
            feeds[value.name] = windows
        elif value.name == "attention_mask":
            feeds[value.name] = np.ones_like(windows)
        elif value.name == "position_ids":
            feeds[value.name] = np.tile(np.arange(windows.shape[1]), (len(windows), 1))
        else:
            sizes = [size if isinstance(size, int) else 0 for size in value.shape[1:]]
            feeds[value.name] = np.zeros((len(windows), *sizes), np.float32)
    logits = session.run(["logits"], feeds)[0]
    return of_files(bundle) | {"noisy logits": digest(logits.tobytes())}


def of_files(bundle: Path) -> dict[str, str]:
    """Hashes of a bundle's plan, models and weights."""
    plan = json.loads((bundle / "plan.json").read_text())
    plan["hetc"] = {}
    files = [*bundle.glob("*.onnx"), *(file for file in (bundle / "weights").rglob("*") if file.is_file())]
    found = {file.relative_to(bundle).as_posix(): digest(file.read_bytes()) for file in files}
    return {"plan.json": digest(json.dumps(plan, indent=1).encode()), **found}


def run(*arguments: str) -> None:
    """A command of hetc, from the repository's folder, so that plans name the model alike."""
    command = "from hetc.cli.main import main; main()"
    subprocess.run(
        [sys.executable, "-c", command, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )


def digest(data: bytes) -> str:
    """sha256."""
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
