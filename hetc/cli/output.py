"""How commands print: results on stdout, as tables or as JSON; everything else on stderr."""

from __future__ import annotations

import json
from typing import Any

import click

__all__ = ["json_option", "print_json"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(data: Any) -> None:
    """Writes plain data to stdout."""
    click.echo(json.dumps(data, indent=2))
