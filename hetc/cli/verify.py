"""`hetc verify`: does the bundle do what its plan says?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from hetc.cli.command import command
from hetc.cli.output import print_json

__all__ = ["verify_command"]


@command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="The model it was compiled from, or its hf://OWNER/NAME.",
)
@click.option(
    "--seeds", type=click.IntRange(min=2), default=4, show_default=True, help="Noisy runs to compare."
)
def verify_command(bundle: Path, source: Path | None, seeds: int, as_json: bool) -> None:
    """Check hashes, exact mode against the source, the kernels that ran, and the noise."""
    from hetc.base.errors import VerificationError
    from hetc.bundle.verify import verify
    from hetc.cli.summary import print_checks

    checks = verify(bundle, source, seeds=seeds)
    if as_json:
        print_json({"checks": [asdict(check) for check in checks]})
    else:
        print_checks(checks)
    failed = [check.name for check in checks if check.status == "failed"]
    if failed:
        raise VerificationError(f"bundle {bundle}: {', '.join(failed)} failed")
