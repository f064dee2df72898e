"""What the packages of an extra would print of themselves."""

from __future__ import annotations

import logging
import os
import sys

__all__ = ["quieten_extras"]

SILENT = {
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Read when the packages are imported; who sets one of these has the say."""


def quieten_extras() -> None:
    """Before they are imported: what they would narrate is in our progress line and in the errors."""
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if "transformers" in sys.modules:  # a program that calls commands imported it before
        sys.modules["transformers"].logging.disable_progress_bar()
