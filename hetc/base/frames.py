"""Records as pandas frames; pandas is only needed where one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hetc.base.extras import needs

if TYPE_CHECKING:
    import pandas

__all__ = ["to_frame"]


def to_frame(records: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> pandas.DataFrame:
    """A frame with a row for each record: integers and booleans stay so where some are missing.

    Args:
        records: The rows, by column.
        columns: The columns and their order; None takes them as they come.

    Raises:
        RuntimeMissingError: pandas is not installed.
    """
    with needs("pandas", "to_dataframe()"):
        pandas = import_module("pandas")
    frame = pandas.DataFrame(list(records), columns=columns, dtype=object)
    nullable = {"integer": "Int64", "boolean": "boolean"}
    kinds = {name: pandas.api.types.infer_dtype(frame[name]) for name in frame if frame[name].isna().any()}
    missing = {name: nullable[kind] for name, kind in kinds.items() if kind in nullable}
    return frame.astype(missing).infer_objects()
