"""The files beside a model that turn text into tokens and back."""

from __future__ import annotations

import logging
import shutil
import stat
from pathlib import Path

from hetc.model.hub_snapshot import belongs_to

__all__ = ["TEXT_FILES", "copy_text_files", "lies_in"]

logger = logging.getLogger(__name__)

TEXT_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
"""They are copied as they are, where a checkpoint or model has them."""


def copy_text_files(source: Path, target: Path) -> None:
    """Copies the text files of one folder into another; what leads out of the folder stays behind."""
    for name in TEXT_FILES:
        if lies_in(source, source / name):
            shutil.copyfile(source / name, target / name)


def lies_in(folder: Path, file: Path) -> bool:
    """Whether a path is a regular file that belongs to a folder; says of others that they stay behind."""
    try:
        real = file.resolve(strict=True)
        if not stat.S_ISREG(real.stat().st_mode):
            return False
    except (OSError, RuntimeError):  # nothing is there, a link leads nowhere, or round in a circle
        if file.is_symlink():
            logger.warning("%s is a link that leads nowhere, and stays behind; put the file there", file)
        return False
    if belongs_to(folder, file):
        return True
    logger.warning("%s leads out of its folder, to %s, and stays behind; put a copy there", file, real)
    return False
