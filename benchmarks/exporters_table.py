"""Writes the table of exporters in docs/models.md: which of their models compile and equal their source.

Run as `make exporters-table`. The cases are those of tests/exporters; models of packages that aren't
installed are left out, by name.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import tempfile
import textwrap
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from cases import CASES, Builder, Case
from outcomes import Outcome, check, expected_experts
from packages import add_packages

OUTPUT = Path(__file__).parent.parent / "docs" / "models.md"
FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/]+/)+")
"""Of a path, what leads to its file."""
BEGIN, END = "<!-- exporters: begin -->", "<!-- exporters: end -->"


def _run(case: Case, builder: Builder, found: dict[Case, Outcome]) -> None:
    """Build and check one case, and say what came of it."""
    if case.missing:
        print(f"{case}: left out, {case.missing}", flush=True)
        return
    start = time.perf_counter()
    try:
        model = builder.build(case)
    except Exception as error:  # whatever an exporter raises
        line = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{case}: not exported, {line[:300]}", flush=True)
        return
    with tempfile.TemporaryDirectory() as bundle:
        found[case] = check(model, Path(bundle), expected_experts(case.family))
    seconds = time.perf_counter() - start
    print(f"{case}: {found[case].status} {found[case].reason} ({seconds:.0f} s)", flush=True)


def outcomes(folder: Path, only: str) -> dict[Case, Outcome]:
    """Build and check each case whose name has `only` in it."""
    builder, found = Builder(folder), {}
    with contextlib.suppress(KeyboardInterrupt):  # what was run until then is written
        for case in CASES:
            if only in str(case):
                _run(case, builder, found)
    return found


def text(found: dict[Case, Outcome]) -> str:
    """The section of docs/models.md."""
    status = Counter(outcome.status for outcome in found.values())
    rows: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    reasons: dict[str, int] = {}
    for case, outcome in found.items():
        if outcome.status == "equal":
            mark = ""
        else:
            mark = str(reasons.setdefault(_kind_of_reason(outcome), len(reasons) + 1))
        rows[case.exporter, case.tool, case.precision].append((case.family, mark))
    lines = [
        textwrap.fill(
            f"{len(found)} of {len(CASES)} tiny models were run, each compiled at a quarter digital and "
            f"compared with its source in exact mode: {status['equal']} are equal, {status['refused']} "
            f"refused, {status['wrong']} wrong. "
            "`=` and what follows it are the families that are equal; a number is the reason, below, that "
            "those before it are refused for.",
            100,
        ),
        "",
        "| exporter | then | precision | families |",
        "|---|---|---|---|",
    ]
    for (exporter, tool, precision), families in rows.items():
        by_mark: dict[str, list[str]] = defaultdict(list)
        for family, mark in families:
            by_mark[mark].append(family)
        cells = [
            f"= {', '.join(names)}" if not mark else f"{', '.join(names)} [{mark}]"
            for mark, names in sorted(by_mark.items())
        ]
        lines.append(f"| {exporter} | {tool or '-'} | {precision} | {'; '.join(cells)} |")
    if reasons:
        lines += ["", "| | why it is refused |", "|---|---|"]
        lines += [f"| {number} | {reason} |" for reason, number in reasons.items()]
    return "\n".join(lines)


def _kind_of_reason(outcome: Outcome) -> str:
    """A reason without paths, and as one line of a table."""
    reason = FOLDERS.sub("", outcome.reason).replace("|", "\\|")
    return textwrap.shorten(f"{'WRONG: ' if outcome.status == 'wrong' else ''}{reason}", 300)


def main() -> None:
    """Check all cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the models here; those that are there are used")
    parser.add_argument("--only", default="", help="only cases with this in their name; nothing is written")
    options = parser.parse_args()
    add_packages()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        found = outcomes(options.folder or Path(folder), options.only)
    if options.only:
        return
    before, _, rest = OUTPUT.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    OUTPUT.write_text(f"{before}{BEGIN}\n{text(found)}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
