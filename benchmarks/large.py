"""Measure export, compile and run on a model as large as real ones: time and anonymous memory.

    python benchmarks/large.py FOLDER
    python benchmarks/large.py FOLDER --model deepseek --compile-only
    python benchmarks/large.py FOLDER --model deepseek-v3
    python benchmarks/large.py FOLDER --growth

Writes a random bfloat16 checkpoint of OLMoE-1B-7B's shape (13.8 GB) or DeepSeekMoE-16B's (32.8 GB) to
FOLDER/checkpoint in Hugging Face layout, unless one is there, and works beside it. Prints a Markdown table;
Linux only. Weight files are dropped from the page cache before each measurement, so that every one of them
reads the disk, but for the rows that say otherwise. `--growth` compares small models instead, with their
weights in the page cache.

DeepSeek-V3's checkpoint is FP8 and sparse: 671 B weights that are holes, which take no disk. Everything but
the weights is there and goes through export and compile: the graph, all units, the plan.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from random_checkpoint import SHAPES, DeepseekV3, Olmoe, Shape, write_checkpoint
from sparse_checkpoint import write_sparse_checkpoint
from tokenizers import Tokenizer

MIB = 1 << 20
PROMPT = "The crossbar"
HETC = (sys.executable, "-m", "hetc.cli.main")


@dataclass(frozen=True)
class Measurement:
    """What a process took.

    Attributes:
        seconds: From start to end.
        anonymous: Largest `RssAnon` seen, in bytes: heap and stacks, without pages of mapped files.
        resident: Largest resident set, pages of mapped files included.
        output: Its stdout.
    """

    seconds: float
    anonymous: int
    resident: int
    output: str


def measure(*command: object) -> Measurement:
    """Runs a command, looking at its memory every 10 ms."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    anonymous = resident = 0
    while process.poll() is None:
        anonymous = max(anonymous, memory("RssAnon", process.pid))
        resident = max(resident, memory("VmHWM", process.pid))
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    assert process.stdout is not None
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {process.returncode}")
    return Measurement(seconds, anonymous, resident, process.stdout.read())


def memory(kind: str, process: int | str = "self") -> int:
    """Resident bytes of a process: `RssAnon`, `RssFile` or `VmHWM` (the most); 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(kind))


def forget(folder: Path) -> None:
    """Drops the weight files of a folder from the page cache."""
    for path in folder.rglob("*.safetensors"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def hash_files(folder: Path, threads: int) -> float:
    """Seconds that reading and hashing every weight file takes, `threads` files at a time."""

    def hash_file(path: Path) -> None:
        digest, buffer = hashlib.sha256(), bytearray(8 * MIB)
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(memoryview(buffer)[:count])

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(hash_file, sorted(folder.glob("*.safetensors"))))
    return time.perf_counter() - start


def generate(bundle: Path, tokens: int) -> None:
    """Opens a bundle, generates and prints what it took, as JSON; runs in a process of its own."""
    from hetc.bundle.bundle import load_bundle
    from hetc.evaluation.generate import generate_tokens

    start = time.perf_counter()
    session = load_bundle(bundle).session()
    times = [time.perf_counter()]
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    for _ in generate_tokens(session, tokenizer.encode(PROMPT).ids, tokens):
        times.append(time.perf_counter())
    each = np.diff(times)
    print(
        json.dumps(
            {
                "open": times[0] - start,
                "first": each[0],
                "steady": float(np.median(each[-8:])),
                "anonymous": memory("RssAnon"),
                "mapped": memory("RssFile"),
            }
        )
    )


def row(name: str, seconds: float, anonymous: int | None = None, note: str = "") -> None:
    used = "" if anonymous is None else f"{anonymous / MIB:,.0f} MiB"
    print(f"| {name} | {seconds:.1f} s | {used} | {note} |", flush=True)


def measure_growth(folder: Path) -> None:
    """Prints how `compile --link` grows with layers, width and experts; the last with equal weights."""
    base = {"layers": 4, "experts": 16, "hidden": 1024, "intermediate": 512, "vocabulary": 512}
    steps: list[dict[str, int]] = [{}, {"layers": 8}, {"layers": 16}]
    steps += [{"hidden": 2048}, {"hidden": 4096}]
    steps += [{"experts": 32, "intermediate": 256}, {"experts": 64, "intermediate": 128}]
    print("| changed | weights | compile --link | anonymous | again |\n|---|---|---|---|---|")
    for step in steps:
        here = folder / "growth"
        write_checkpoint(Olmoe(**{**base, **step}), here / "checkpoint")
        size = sum(file.stat().st_size for file in here.rglob("*.safetensors"))
        time.sleep(2)  # younger files are not cached
        os.environ["XDG_CACHE_HOME"] = str(here / "cache")
        measure(*HETC, "export", here / "checkpoint", "-o", here / "onnx", "--link")
        compile_ = (*HETC, "compile", here / "onnx" / "model.onnx", "-o", here / "model.hetc", "--link")
        first = measure(*compile_)
        again = measure(*compile_, "--force")
        changed = ", ".join(f"{name} {value}" for name, value in (step or base).items())
        used = f"{first.anonymous / MIB:,.0f} MiB | {again.seconds:.2f} s"
        print(f"| {changed} | {size / 1e6:,.0f} MB | {first.seconds:.2f} s | {used} |", flush=True)
        shutil.rmtree(here)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=SHAPES, default="olmoe", help="whose shape")
    sizes = [field.name for field in fields(Shape)]
    for size in sizes:
        parser.add_argument(f"--{size}", type=int, default=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, default=32, help="to generate")
    parser.add_argument(
        "--compile-only", action="store_true", help="don't run the bundle or copy the weights"
    )
    parser.add_argument("--generate", action="store_true", help="FOLDER is a bundle: generate with it alone")
    parser.add_argument("--growth", action="store_true", help="compare small models")
    options = parser.parse_args()
    if options.growth:
        measure_growth(options.folder)
        return
    if options.generate:
        generate(options.folder, options.tokens)
        return
    shape = SHAPES[options.model](**{name: value for name, value in vars(options).items() if name in sizes})
    if isinstance(shape, DeepseekV3):
        measure_sparse(shape, options.folder)
    else:
        measure_all(shape, options.folder, options.tokens, options.compile_only)


def measure_sparse(shape: Shape, folder: Path) -> None:
    """Prints what export and compile of an FP8 checkpoint take that is all holes, and the plan's size."""
    folder = folder / "sparse"
    shutil.rmtree(folder, ignore_errors=True)
    size = write_sparse_checkpoint("fp8", shape, folder / "checkpoint")
    print(
        f"{size / 1e9:.0f} GB of FP8 weights that are holes; {shape.layers} layers, {shape.experts} experts\n"
    )
    print("| what | time | anonymous, at most | |\n|---|---|---|---|")
    os.environ["XDG_CACHE_HOME"] = str((folder / "cache").absolute())
    model, bundle = folder / "onnx" / "model.onnx", folder / "model.hetc"
    taken = measure(*HETC, "export", folder / "checkpoint", "-o", model.parent)
    row("export", taken.seconds, taken.anonymous, f"{taken.resident / MIB:,.0f} MiB resident")
    taken = measure(*HETC, "compile", model, "-o", bundle, "--link")
    plan = (bundle / "plan.json").stat().st_size
    note = f"{taken.resident / MIB:,.0f} MiB resident; plan {plan / 1e6:.1f} MB"
    row("compile --link", taken.seconds, taken.anonymous, note)
    shutil.rmtree(folder)


def measure_all(shape: Shape, folder: Path, tokens: int, compile_only: bool) -> None:
    """Prints the table."""
    checkpoint, exported, bundle = folder / "checkpoint", folder / "onnx", folder / "model.hetc"
    if not checkpoint.is_dir():
        write_checkpoint(shape, checkpoint)
    files = list(checkpoint.glob("*.safetensors"))
    print(f"{sum(file.stat().st_size for file in files) / 1e9:.2f} GB of weights in {len(files)} files\n")
    print("| what | time | anonymous, at most | |\n|---|---|---|---|")
    os.environ["XDG_CACHE_HOME"] = str((folder / "cache").absolute())
    for leftover in (exported, bundle, folder / "cache"):
        shutil.rmtree(leftover, ignore_errors=True)
    compile_ = (*HETC, "compile", exported / "model.onnx", "-o", bundle)

    taken = measure(*HETC, "export", checkpoint, "-o", exported, "--link")
    row("export --link", taken.seconds, taken.anonymous)
    for threads in (1, 2):
        forget(checkpoint)
        row(f"read and hash, {threads} threads", hash_files(checkpoint, threads))
    forget(checkpoint)
    taken = measure(*compile_, "--digital-frac", "0.25", "--link")
    row("compile --digital-frac 0.25 --link", taken.seconds, taken.anonymous)
    for again in (["--digital-frac", "0.5"], ["--score", "maxnn-down-inputs"], ["--profile", "hermes-256"]):
        taken = measure(*compile_, *again, "--link", "--force")
        row(f"again, {' '.join(again)}", taken.seconds, taken.anonymous)
    if compile_only:
        return
    forget(checkpoint)
    for where in ("read from disk", "in the page cache"):
        taken = measure(sys.executable, __file__, bundle, "--generate", "--tokens", tokens)
        told = json.loads(taken.output)
        row(f"open the bundle, weights {where}", told["open"])
        row(f"first token, weights {where}", told["first"])
    row(
        "steady token",
        told["steady"],
        told["anonymous"],
        f"{1 / told['steady']:.2f} tokens/s; {told['mapped'] / MIB:,.0f} MiB mapped",
    )
    shutil.rmtree(folder / "cache")
    forget(checkpoint)
    taken = measure(*compile_, "--digital-frac", "0.25", "--force")
    row("compile, copied", taken.seconds, taken.anonymous)
    shutil.rmtree(bundle)


if __name__ == "__main__":
    main()
