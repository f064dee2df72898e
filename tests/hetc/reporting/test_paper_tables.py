"""The paper's tables: means over tasks and seeds, costs of placements, and text that stays text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command_line import SAMPLE, hetc
from report_data import PLAN

from hetc.base.errors import UsageError
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.evaluation.results import CONDITIONS, Result
from hetc.evaluation.results_file import write_results
from hetc.model.load import sha256
from hetc.plan.targets import targets_at
from hetc.reporting.paper_tables import PaperTable, format_tables, paper_tables

BASIS = CostBasis(load_costs(), accounting="digital-only")


def result(value: float, **changes: object) -> Result:
    return replace(Result(0.0, "maxnn", 0, 2.0, "piqa", "acc", value), **changes)  # type: ignore[arg-type]


MEASURED = [
    *(
        result(0.8, kind=kind, noise_scale=scale)
        for kind in ("none", "expert", "all")
        for scale in (0.0, 2.0)
    ),
    *(
        result(value, fraction=0.5, seed=seed, task=task)
        for seed, task, value in ((0, "piqa", 0.5), (0, "boolq", 0.7), (1, "piqa", 0.7), (1, "boolq", 0.7))
    ),
    result(2.5, fraction=0.5, metric="loss", unit="nats/token", higher_is_better=False),
    result(0.1, fraction=0.5, noise_scale=9.0),
]


def test_values_and_costs() -> None:
    first, second = paper_tables(PLAN, MEASURED, BASIS, 2.2)
    assert first.rows == (("acc", "80.00", "80.00", "80.00"),)
    assert "c = 2;" in second.caption and "digital-only" in second.caption
    assert [row[1] for row in second.rows] == [
        "none",
        "dense modules",
        "dense modules, 50.0% of experts by maxnn",
        "all",
    ]
    # Means over tasks are 60 and 70 percent.
    assert second.rows[2][-2:] == ("65.00 ± 7.07", "2.5000")
    assert second.rows[0][-1] == "not measured"
    shares = [float(row[0].split()[0]) for row in second.rows]
    assert shares == sorted(shares) and shares[0] == 0
    half = replace(PLAN, units=targets_at(PLAN, 0.5))
    assert shares[2] == pytest.approx(half.shares.percent()[0], abs=0.005)
    assert second.rows[2][2] == f"{BASIS.plan_cost(half.units).tokens_per_second:,.0f}"


def test_a_share_of_none_and_of_all_are_placements_of_their_own() -> None:
    ends = [result(value, fraction=share) for share, value in ((0.0, 0.3), (1.0, 0.9))]
    exact = result(0.99, conditions=tuple("exact" if name == "mode" else "" for name in CONDITIONS))
    *_, second = paper_tables(PLAN, [*ends, exact, replace(exact, noise_scale=1.0)], BASIS, 1)
    assert "c = 2;" in second.caption
    assert [row[-1] for row in second.rows] == ["not measured", "30.00", "90.00"]


def test_results_without_noise() -> None:
    with pytest.raises(UsageError, match="no c above 0"):
        paper_tables(PLAN, [result(0.5, noise_scale=0.0)], BASIS, 1)


def test_markdown_and_latex() -> None:
    table = PaperTable("50 % of_all", ("a|b", "c"), (("1 ± 2", "x & y"),))
    assert format_tables([table], "md").splitlines() == [
        *("50 % of_all", "", r"| a\|b | c |", "|---|---|", "| 1 ± 2 | x & y |"),
    ]
    latex = format_tables([table], "latex")
    assert r"\caption{50 \% of\_all}" in latex
    assert r"1 $\pm$ 2 & x \& y \\" in latex
    assert latex.count(r"\begin") == latex.count(r"\end") == 2


def test_command(tmp_path: Path) -> None:
    row = {"score": "maxnn", "seed": 0, "task": "piqa", "metric": "acc", "value": 0.5, "noise": "pcm"}
    row |= {"fraction": 0.5, "noise_scale": 1.0, "model_sha256": sha256(SAMPLE / "model.onnx")}
    write_results(tmp_path / "r.csv", [row], ".csv")
    ask = ("report", SAMPLE / "model.onnx", "--results", tmp_path / "r.csv")
    done = hetc(*ask, "--tables", "latex", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert r"\bottomrule" in done.stdout and "50.00" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"], "no page beside"
    assert hetc(*ask, "--tables", "md", "-o", tmp_path / "r.html").returncode == 2
    assert hetc(*ask[:2], "--tables", "md").returncode == 2
