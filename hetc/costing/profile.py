"""Cost profiles: what a system's digital part, analog part and the link between them cost, read from TOML.

A `Profile` is what the analog device does to numbers and belongs to the plan. A cost profile is what a whole
system takes in seconds and joules; it belongs to a question asked of a plan, and changes nothing in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from hetc.base.errors import UsageError
from hetc.base.reading import parse_toml, read_text, read_toml
from hetc.base.schema import check_record

__all__ = [
    "DEFAULT_COSTS",
    "AnalogCosts",
    "Constant",
    "CostProfile",
    "DigitalCosts",
    "LinkCosts",
    "built_in_costs",
    "cost_file_text",
    "is_cost_profile",
    "load_costs",
]

DEFAULT_COSTS = "a100+pcm-3d"
BUILT_IN = resources.files("hetc.costing") / "costs"

SI = {"TFLOP/s": 1e12, "TB/s": 1e12, "GB/s": 1e9, "ns": 1e-9, "nJ": 1e-9, "pJ/bit": 8e-12}
"""Factor from a unit to SI units, bytes and operations; 1 for units that aren't listed."""


@dataclass(frozen=True)
class Constant:
    """A number with its unit and where it comes from.

    Attributes:
        value: In `unit`.
        unit: As in the source.
        source: Who published it; empty for what nobody did.
        assumption: Why it is taken all the same; empty for what the source says of this very system.
    """

    value: float
    unit: str
    source: str = ""
    assumption: str = ""

    @property
    def si(self) -> float:
        """In W, s, J, bytes and operations, and those per second or per byte."""
        return self.value * SI.get(self.unit, 1.0)


@dataclass(frozen=True)
class DigitalCosts:
    """The digital device: it draws `power` as long as a step lasts."""

    power: Constant
    compute: Constant
    memory_bandwidth: Constant
    number_bytes: Constant


@dataclass(frozen=True)
class AnalogCosts:
    """Crossbar tiles: time and energy of one product with one vector, converters included."""

    tile_rows: Constant
    tile_columns: Constant
    product_time: Constant
    product_energy: Constant
    periphery: Constant


@dataclass(frozen=True)
class LinkCosts:
    """What joins the two."""

    bandwidth: Constant
    energy: Constant


@dataclass(frozen=True)
class CostProfile:
    """The cost constants of a system.

    Attributes:
        name: Its name.
        description: What it is, for people.
        digital: The digital device.
        analog: The crossbar tiles.
        link: Between the two.
    """

    name: str
    description: str
    digital: DigitalCosts
    analog: AnalogCosts
    link: LinkCosts

    def to_dict(self) -> dict[str, Any]:
        """Plain data: every constant with value, unit, source and assumption."""
        return asdict(self)


def built_in_costs() -> list[str]:
    """Names of the cost profiles that come with hetc, for `cost` and `load_costs`.

    >>> import hetc
    >>> "a100+pcm-3d" in hetc.built_in_costs()
    True
    """
    return sorted(entry.name[:-5] for entry in BUILT_IN.iterdir())


def cost_file_text(name_or_path: str | Path) -> str:
    """The TOML text of a built-in cost profile by name, or of a file by path.

    Raises:
        UsageError: Neither a built-in name nor a file.
    """
    if str(name_or_path) in built_in_costs():
        return BUILT_IN.joinpath(f"{name_or_path}.toml").read_text("utf-8")
    try:
        return read_text(Path(name_or_path), "cost profile")
    except UsageError as error:
        raise UsageError(
            f"cost profile {str(name_or_path)!r} is neither a file nor one of {', '.join(built_in_costs())}"
        ) from error


def is_cost_profile(name_or_path: str | Path) -> bool:
    """Whether this is a cost profile, and no hardware profile: a built-in one, or a file with its tables."""
    if str(name_or_path) in built_in_costs():
        return True
    path = Path(name_or_path)
    return path.is_file() and bool({"digital", "analog", "link"} & read_toml(path, "profile").keys())


def load_costs(name_or_path: str | Path = DEFAULT_COSTS) -> CostProfile:
    """Reads a built-in cost profile by name, or a TOML file by path.

        >>> import hetc
        >>> hetc.load_costs("harp").name
        'harp'

    Args:
        name_or_path: One of `built_in_costs()`, or a file (docs/schemas/costs.schema.json).

    Raises:
        UsageError: Neither a built-in name nor a file.
        InvalidInputError: The TOML doesn't parse, or a constant is missing, unknown, out of range, in another
            unit, or without source and assumption.
    """
    where = f"cost profile {name_or_path}"
    table = parse_toml(cost_file_text(name_or_path), where)
    check_record(table, "costs", where)

    def constants(section: str) -> dict[str, Constant]:
        return {key: Constant(**constant) for key, constant in table[section].items()}

    return CostProfile(
        table["name"],
        table["description"],
        DigitalCosts(**constants("digital")),
        AnalogCosts(**constants("analog")),
        LinkCosts(**constants("link")),
    )
