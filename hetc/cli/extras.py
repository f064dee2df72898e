"""What the packages of an extra would print of themselves."""

from __future__ import annotations

import logging
import os

__all__ = ["quieten_lm_eval"]


def quieten_lm_eval() -> None:
    """Before lm-eval is imported: what it would narrate is in our progress line and in the errors."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
