"""Writes calibration tokens for a checkpoint: python tokens.py CHECKPOINT OUTPUT.npz [TEXT ...]

Without text files, the training part of WikiText-2, which no task of the paper is made of.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

TOKENS = 65_536


def main() -> None:
    checkpoint, output, *files = map(Path, sys.argv[1:])
    if files:
        text = "\n".join(file.read_text("utf-8") for file in files)
    else:
        from datasets import load_dataset

        text = "".join(load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split="train")["text"])
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    # Characters enough for the tokens, and no more than tokenizers take at once.
    tokens = tokenizer.encode(text[: 16 * TOKENS]).ids[:TOKENS]
    np.savez_compressed(output, tokens=np.array(tokens, np.int64))


if __name__ == "__main__":
    main()
