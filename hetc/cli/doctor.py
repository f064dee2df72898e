"""`hetc doctor`: what is installed, and does the library load?"""

from __future__ import annotations

from dataclasses import asdict

import click

from hetc.cli.output import json_option, print_json

__all__ = ["doctor_command"]


@click.command("doctor")
@json_option
def doctor_command(as_json: bool) -> None:
    """Show versions, the operator library, and whether a noisy product runs."""
    from hetc.base.errors import RuntimeMissingError
    from hetc.bundle.doctor import examine
    from hetc.cli.summary import print_checks

    checks = examine()
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        print_checks(checks)
    failed = [check for check in checks if check.status == "failed"]
    if failed:
        raise RuntimeMissingError(f"{failed[0].name}: {failed[0].detail}")
