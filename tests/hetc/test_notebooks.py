"""What notebooks show of plans, bundles, costs and scores, and their frames."""

from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_data import PLAN, RESULTS

from hetc.base.errors import RuntimeMissingError
from hetc.bundle.bundle import Bundle
from hetc.compiler.compare import compare
from hetc.costing.cost import PARTS, plan_cost
from hetc.costing.profile import load_costs
from hetc.costing.work import Workload
from hetc.plan.plan import PlannedUnit
from hetc.plan.scores import Scores
from hetc.reporting.result_figures import energy_figures, fraction_figures

EVIL = "<script>alert(1)</script>&"
COST = plan_cost(PLAN.units, load_costs(), Workload("decode", 2, 8))
SCORES = Scores({"loss": {"a": 2.0, "b": 1.0}, EVIL: {"b": 3.0}}, {"tokens": EVIL})
EVIL_PLAN = replace(PLAN, score=EVIL)


class Cells(HTMLParser):
    """The tags of a page, and the texts of its cells by rows."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def shown(thing: Any) -> Cells:
    cells = Cells()
    cells.feed(thing._repr_html_())
    return cells


@pytest.mark.parametrize(
    "thing",
    [EVIL_PLAN, Bundle(Path(EVIL), EVIL_PLAN, {}), Bundle(Path("x"), PLAN, {}, {"seed": 3}), COST, SCORES],
    ids=["plan", "bundle", "baked", "cost", "scores"],
)
def test_notebooks_show_tables_of_text(thing: Any) -> None:
    cells = shown(thing)
    assert cells.tags - {"p"} == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert len(cells.rows) > 1
    assert len({len(row) for row in cells.rows}) == 1


def test_a_plan_by_layers() -> None:
    head, first, *_ = shown(PLAN).rows
    assert head == ["layer", "digital share", "analog", "digital"]
    digital = [unit.expert for unit in PLAN.units if unit.layer == 0 and unit.target == "digital"]
    experts = " ".join(str(expert) for expert in digital if expert is not None)
    assert first[0] == "0" and first[3] == f"experts {experts}, attention"


def flipped(unit: PlannedUnit) -> PlannedUnit:
    digital = unit.target == "digital"
    return replace(unit, target="analog" if digital else "digital", digital_neurons=0)


def test_a_figure_is_shown_as_a_chart() -> None:
    svg = fraction_figures(RESULTS)[0]._repr_svg_()
    assert svg.startswith("<svg") and "var(" not in svg and "all digital" in svg


def test_frames() -> None:
    pytest.importorskip("pandas")
    plan = PLAN.to_dataframe()
    assert plan["id"].tolist() == [unit.id for unit in PLAN.units]
    assert plan["maxnn"].dropna().tolist() == [unit.score["maxnn"] for unit in PLAN.units if unit.score]
    assert COST.to_dataframe()["part"].tolist() == list(PARTS)
    assert COST.to_dataframe()["joules"].sum() == pytest.approx(COST.joules)
    scores = SCORES.to_dataframe().set_index("unit")
    assert scores.loc["b"].tolist() == [1.0, 3.0] and scores.isna().sum().sum() == 1
    kinds = {"layer": "Int64", "rank": "Int64", "tiles": "int64", "pinned": "bool", "load": "float64"}
    assert {name: str(plan[name].dtype) for name in kinds} == kinds
    moved = compare(PLAN, replace(PLAN, units=tuple(map(flipped, PLAN.units)))).to_dataframe()
    assert list(moved.columns[:4]) == ["id", "first_target", "second_target", "first_digital_share"]
    assert moved["first_rank"].isna().any() and str(moved["first_rank"].dtype) == "Int64"
    assert moved["first_target"].tolist() == [unit.target for unit in PLAN.units]
    figure = energy_figures(RESULTS, lambda fraction: fraction)[0].to_dataframe()
    assert str(figure["on the Pareto front"].dtype) == "bool"
    figure = fraction_figures(RESULTS)[0]
    assert tuple(figure.to_dataframe().columns) == figure.columns


def test_frames_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install '.\[pandas\]'"):
        PLAN.to_dataframe()
