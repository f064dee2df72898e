"""Options that take a share: 0.95 or 95%."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["Share"]


class Share(click.ParamType):
    """A number, or a number of percent."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from hetc.base.errors import UsageError
        from hetc.base.quantity import parse_share

        try:
            return parse_share(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)
