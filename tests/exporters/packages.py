"""Packages of exporters and tools that are no part of hetc's own environment.

`python tests/exporters/packages.py` installs them into `build/exporters`, one folder a package, without
what they depend on: torch, transformers and onnx stay those that are installed. What cannot be had is left
out, and its cases skip by name.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["FOLDER", "add_packages", "missing"]

FOLDER = Path(__file__).parents[2] / "build" / "exporters"

# Folder, and what pip installs there.
PACKAGES: dict[str, list[str]] = {
    "mobius": ["mobius-onnx==0.1.0", "onnx-shape-inference"],
    "onnxslim": ["onnxslim==0.1.98", "colorama"],
    "onnxsim": ["onnxsim==0.8.1"],
    "keras": ["keras==3.15.1", "optree", "h5py", "namex"],
    "jax2onnx": [
        "jax2onnx",
        "jax==0.10.2",
        "jaxlib==0.10.2",
        "opt_einsum",
        "einops",
        "equinox",
        "jaxtyping",
        "wadler_lindig",
        "flax",
        "optax",
        "treescope",
    ],
    # The last one that optimum-onnx takes, and what that needs: for a process of its own.
    "optimum": [
        "optimum-onnx==0.1.0",
        "optimum==2.1.0",
        "transformers==4.57.6",
        "tokenizers==0.22.2",
        "huggingface_hub==0.36.2",
    ],
}
APART = ("optimum",)
"""Folders that must not be on the path of hetc's own process."""


def missing(package: str) -> str:
    """Why a package's cases skip: nothing if it is installed."""
    if package not in PACKAGES or (FOLDER / package).is_dir():
        return ""
    return f"{package} is not installed: python tests/exporters/packages.py"


def add_packages() -> None:
    """Make what is installed importable, behind everything else."""
    for package in PACKAGES:
        folder = str(FOLDER / package)
        if package not in APART and folder not in sys.path:
            sys.path.append(folder)


def main() -> None:
    """Install what isn't there yet."""
    for package, requirements in PACKAGES.items():
        target = FOLDER / package
        if not target.is_dir():
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
            done = subprocess.run([*command, *requirements], check=False)
            print(package, "could not be installed" if done.returncode else "installed", flush=True)


if __name__ == "__main__":
    main()
