"""What a sweep measures, read from a TOML file.

| key | what | default |
|---|---|---|
| model | the ONNX model, relative to the file | required |
| data | .npz file with an array `tokens` | required, unless there are tasks |
| window, windows | tokens in a row, and how many rows at most | 256, 32 |
| tasks | tasks of lm-eval; `paper` for those of arXiv 2603.02633 | [] |
| include_path | folder with task files of your own | |
| limit | questions of each task at most; 0 for all | 0 |
| scores | what ranks the experts | ["maxnn"] |
| scores_files | files of `hetc score` and `hetc calibrate` for scores that were measured | [] |
| rankings | `layer`, `model` | ["layer"] |
| fractions | share of the experts that is digital | [0, 0.125, 0.25, 0.5, 1] |
| kinds | unit kinds that are analog alone, each by itself; `none` for none, `all` for all together | [] |
| analog, digital | patterns of units that are pinned | [] |
| profile | hardware | pcm-512 |
| noises | programming-noise models | the profile's |
| noise_scales | factors c; at 0 nothing is drawn, so one seed is measured | [1] |
| seeds | how many programming seeds, from 0 on | 8 |
| checkpoint | folder that the model was exported from, to measure in torch instead of ONNX Runtime | |
| device | where torch computes | cpu |

Score `random` takes another order with every seed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.toml import tomllib
from hetc.hardware.profile import DEFAULT_PROFILE
from hetc.plan.fractions import DigitalFraction
from hetc.plan.words import RANKINGS

__all__ = ["Sweep", "load_sweep"]


@dataclass(frozen=True)
class Sweep:
    """The table above; paths are absolute."""

    model: Path
    data: Path | None = None
    window: int = 256
    windows: int = 32
    tasks: tuple[str, ...] = ()
    include_path: Path | None = None
    limit: int = 0
    scores: tuple[str, ...] = ("maxnn",)
    scores_files: tuple[Path, ...] = ()
    rankings: tuple[str, ...] = ("layer",)
    fractions: tuple[float, ...] = (0, 0.125, 0.25, 0.5, 1)
    kinds: tuple[str, ...] = ()
    analog: tuple[str, ...] = ()
    digital: tuple[str, ...] = ()
    profile: str = DEFAULT_PROFILE
    noises: tuple[str, ...] = ()
    noise_scales: tuple[float, ...] = (1,)
    seeds: int = 8
    checkpoint: Path | None = None
    device: str = "cpu"


def load_sweep(path: Path) -> Sweep:
    """Reads a sweep.

    Raises:
        UsageError: No such file, or a file that it names isn't there.
        InvalidInputError: Not TOML, an unknown key, or a value of another type; the message names the key.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"sweep {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"sweep {path} is not TOML: {error}") from error
    known = {field.name: str(field.type) for field in fields(Sweep)}
    for key in table:
        if key not in known:
            raise InvalidInputError(f"sweep {path}: unknown key {key!r}; known are {', '.join(known)}")
    for keys in (("model",), ("data", "tasks")):
        if not any(key in table for key in keys):
            raise InvalidInputError(f"sweep {path}: {' or '.join(keys)} is missing")
    sweep = Sweep(
        **{key: _read(value, known[key], f"sweep {path}: {key}", path) for key, value in table.items()}
    )
    for ranking in sweep.rankings:
        if ranking not in RANKINGS:
            raise InvalidInputError(
                f"sweep {path}: rankings has {ranking!r}; known are {', '.join(RANKINGS)}"
            )
    for fraction in sweep.fractions:
        DigitalFraction(fraction)
    for file in (sweep.model, sweep.data, *sweep.scores_files):
        if file is not None and not file.is_file():
            raise UsageError(f"sweep {path}: {file} is not there")
    for folder in (sweep.checkpoint, sweep.include_path):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"sweep {path}: {folder} is not a folder")
    return sweep


def _read(value: Any, kind: str, where: str, path: Path) -> Any:
    if kind.startswith("tuple["):
        if not isinstance(value, list):
            raise InvalidInputError(f"{where} is {value!r}, not a list")
        return tuple(_read(one, kind.removeprefix("tuple[").partition(",")[0], where, path) for one in value)
    accepted: Any = {"int": int, "float": (int, float)}.get(kind, str)
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise InvalidInputError(f"{where} has {value!r}, not a {kind.lower()}")
    return (path.parent / value).resolve() if kind.startswith("Path") else value
