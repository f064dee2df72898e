"""Time hetc's commands on a live model of OLMoE-1B-7B's shape on a GPU, and print a Markdown table.

    PYTHONPATH=benchmarks python benchmarks/gpu_olmoe.py FOLDER

The weights are random. Writes checkpoint, plans and tokens to FOLDER (14 GB), unless they are there. Seconds
are whole processes', which open the model first; memory is the most that the GPU's driver reports.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from random_checkpoint import Olmoe, write_checkpoint

HETC = (sys.executable, "-m", "hetc")
SWEEP = """
model = "exported/model.onnx"
checkpoint = "checkpoint"
device = "{device}"
data = "tokens.npz"
window = 512
windows = 16
scores = ["maxnn", "router-norm"]
fractions = [0, 0.25]
seeds = 2
"""
MADE = {
    "exported": "export checkpoint",
    "experts.hetc": "compile exported --digital-frac 0.25",
    "neurons.hetc": "compile exported --digital-frac 0.0625 --granularity neuron",
}
"""What the commands read, and how it is made."""
LIVE = "--checkpoint checkpoint --device {device}"
LOSS = f"{LIVE} --data tokens.npz --window 512 --windows 32 --force -o loss.csv"
COMMANDS = (
    f"run experts.hetc {LIVE} --prompt Crossbars --max-new-tokens 64",
    f"evaluate experts.hetc {LOSS} --seeds 2 --baseline",
    f"evaluate experts.hetc {LOSS} --seeds 2 --baseline --low-memory",
    f"evaluate neurons.hetc {LOSS}",
    "score checkpoint --data tokens.npz --window 512 --windows 32 --device {device} --force -o s.safetensors",
    "sweep sweep.toml --force -o sweep.csv",
)


def prepare(folder: Path, shape: Olmoe, device: str) -> None:
    """Writes what the commands read."""
    if not (folder / "checkpoint").exists():
        write_checkpoint(shape, folder / "checkpoint")
    tokens = np.random.default_rng(0).integers(0, 256, (32, 512))
    np.savez(folder / "tokens.npz", tokens=tokens)
    (folder / "sweep.toml").write_text(SWEEP.format(device=device))
    for output, words in MADE.items():
        if not (folder / output).exists():
            command = [*HETC, *words.split(), "--link", "-o", output]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def most_memory(stop: threading.Event, found: list[int]) -> None:
    """Notes the GPU's used MiB until it is told to stop."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    while not stop.wait(0.2):
        found.append(int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]))


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    for size in ("layers", "experts", "hidden", "intermediate", "vocabulary"):
        parser.add_argument(f"--{size}", type=int, default=getattr(Olmoe, size))
    options = vars(parser.parse_args())
    folder, device = options.pop("folder"), options.pop("device")
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder, Olmoe(**options), device)
    print("| command | seconds | GPU, GiB |\n|---|---|---|")
    for words in COMMANDS:
        command = words.format(device=device)
        stop, memory = threading.Event(), [0]
        watcher = threading.Thread(target=most_memory, args=(stop, memory))
        if shutil.which("nvidia-smi"):
            watcher.start()
        start = time.perf_counter()
        subprocess.run([*HETC, *command.split()], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        stop.set()
        if watcher.is_alive():
            watcher.join()
        print(f"| `{command}` | {seconds:.0f} | {max(memory) / 1024:.1f} |", flush=True)


if __name__ == "__main__":
    main()
