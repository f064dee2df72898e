"""What other packages add to hetc: scores, noise models and spellings, registered as entry points.

[project.entry-points."hetc.scores"]
l1-norm = "my_package:l1_norm"
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from hetc.base.errors import InvalidInputError

__all__ = ["load_plugins"]


@cache
def load_plugins(group: str) -> dict[str, Any]:
    """The objects that installed packages register, by name, in order of name.

    Args:
        group: `hetc.scores`, `hetc.noise_models` or `hetc.spellings`.

    Raises:
        InvalidInputError: One that cannot be imported, or two of one name.
    """
    found: dict[str, Any] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        package = entry.dist.name if entry.dist is not None else entry.module
        if entry.name in found:
            raise InvalidInputError(
                f"{group}: two packages register {entry.name!r}, {package} is one of them"
            )
        try:
            found[entry.name] = entry.load()
        except Exception as error:  # whatever a foreign package raises while it is imported
            raise InvalidInputError(
                f"{group} {entry.name!r} of package {package} cannot be loaded: {error}; "
                f"mend or uninstall the package"
            ) from error
    return found
