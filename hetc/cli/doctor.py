"""`hetc doctor`: what is installed, and does the library load?"""

from __future__ import annotations

from dataclasses import asdict

from hetc.cli.command import command
from hetc.cli.output import print_json

__all__ = ["doctor_command"]


@command("doctor")
def doctor_command(as_json: bool) -> None:
    """Show the packages of every extra, the library, devices and cache, and what mends what is missing."""
    from hetc.base.errors import RuntimeMissingError
    from hetc.bundle.doctor import doctor
    from hetc.cli.summary import print_checks

    checks = doctor()
    if as_json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        print_checks(checks)
    failed = [check for check in checks if check.status == "failed"]
    if failed:
        mend = f"; {failed[0].mend}" if failed[0].mend else ""
        raise RuntimeMissingError(f"{failed[0].name}: {failed[0].detail}{mend}")
