"""Makes tests/helpers importable from every test folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers whose torch takes every core wait for each other at each product.
    os.environ["OMP_NUM_THREADS"] = "1"
