"""What a sweep measures, read from a TOML file.

Its keys, with their defaults, are in `sweep.schema.json`, against which values are checked; what only the
model can say (which kinds, scores, units it has) is checked before anything is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.reading import read_toml
from hetc.base.schema import check_record
from hetc.hardware.profile import Profile, built_in_profiles, load_profile
from hetc.model.hub import Wanted, is_hub_id, local_path
from hetc.plan.fractions import DigitalFraction

__all__ = ["Sweep", "load_sweep"]

PATHS = ("model", "data", "tokenizer", "include_path", "scores_files", "calibration", "checkpoint")
"""Keys that name files and folders."""
FROM_THE_HUB: dict[str, Wanted] = {"model": "model", "tokenizer": "tokenizer", "checkpoint": "checkpoint"}
"""Those that may be `hf://OWNER/NAME`, and what is looked for there."""


@dataclass(frozen=True)
class Sweep:
    """The table above; paths are absolute, and the profile is what its file says.

    A fraction given as text, such as `12.5%`, becomes a number.
    """

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
    granularities: tuple[str, ...] = ("expert",)
    fractions: tuple[float, ...] = (0, 0.125, 0.25, 0.5, 1)
    kinds: tuple[str, ...] = ()
    analog: tuple[str, ...] = ()
    digital: tuple[str, ...] = ()
    profile: Profile = field(default_factory=load_profile)
    calibration: Path | None = None
    range: str | None = None
    adc_bound: str | None = None
    noises: tuple[str, ...] = ()
    noise_scales: tuple[float, ...] = ()
    seeds: int = 8
    checkpoint: Path | None = None
    device: str = "cpu"
    low_memory: bool = False
    tokenizer: Path | None = None

    def __post_init__(self) -> None:
        """Raises as `load_sweep` does, for values that come from Python."""
        if isinstance(self.fractions, (tuple, list)):
            numbers = [float(DigitalFraction(one)) if isinstance(one, str) else one for one in self.fractions]
            object.__setattr__(self, "fractions", tuple(numbers))
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "profile"}
        defaults = {each.name: each.default for each in fields(self)}
        record = {key: _plain(value) for key, value in given.items() if value != defaults[key]}
        check_record(record, "sweep", "sweep")
        if "data" not in record and "tasks" not in record:
            raise InvalidInputError("sweep: data or tasks is missing: on what to measure")
        for fraction in self.fractions:
            DigitalFraction(fraction)
        if not self.fractions and not self.kinds:
            raise InvalidInputError("sweep: neither fractions nor kinds say what to measure")
        for file in (self.model, self.data, self.calibration, *self.scores_files):
            if file is not None and not file.is_file():
                raise UsageError(f"sweep: {file} is not there")
        for folder in (self.checkpoint, self.include_path, self.tokenizer):
            if folder is not None and not folder.is_dir():
                raise UsageError(f"sweep: {folder} is not a folder")


def load_sweep(path: Path) -> Sweep:
    """Reads a sweep.

    Raises:
        UsageError: No such file, or a file that it names isn't there.
        InvalidInputError: Not TOML, an unknown key, or a value that its key can't have; the message names the
            key and what is allowed.
    """
    table = read_toml(path, "sweep")
    check_record(table, "sweep", f"sweep {path}")
    return Sweep(**{key: _read(key, value, path.parent) for key, value in table.items()})


def _read(key: str, value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return tuple(_read(key, each, folder) for each in value)
    if key == "profile":
        return _profile(value, folder)
    if key in FROM_THE_HUB and is_hub_id(value):
        return local_path(value, FROM_THE_HUB[key])
    return (folder / value).resolve() if key in PATHS else value


def _profile(name: str, folder: Path) -> Profile:
    """The profile of a file relative to the sweep's folder, or else the built-in one of that name."""
    file = folder / name
    if file.is_file() or name not in built_in_profiles():
        return load_profile(file)
    return load_profile(name)


def _plain(value: Any) -> Any:
    """As TOML would have it."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
