"""The report as a page: complete, offline, and usable in a browser at both widths and in both schemes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path
from xml.etree import ElementTree

import pytest
from chromium import Browser, find_chromium
from command_line import SAMPLE, hetc
from report_data import PLAN, RESULTS

from hetc.base.errors import OutputError, UsageError
from hetc.costing.cost import CostBasis
from hetc.costing.profile import load_costs
from hetc.evaluation.results_file import read_results, write_results
from hetc.model.load import sha256
from hetc.reporting import write
from hetc.reporting.figure import COLUMN, POINTS_PER_MM, Figure, page_svg
from hetc.reporting.placement_figure import placement_figure
from hetc.reporting.plan_figures import score_figures
from hetc.reporting.result_figures import fraction_figures
from hetc.reporting.write import build_report, file_names, report, write_figures

Report = tuple[str, list[Figure]]
needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    text, _ = build_report(PLAN, load_costs(), title="A <report>", results=RESULTS, results_from="made up")
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def plain_report() -> Report:
    return build_report(PLAN, load_costs(), title="plain")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def test_page_refers_to_nothing_outside(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "default-src 'none'" in text
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", text) == []
    assert "@import" not in text and re.findall(r"url\((?!#)", text) == []
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(set(ids)) == len(ids), "a chart's parts refer to that chart"
    assert "A &lt;report&gt;" in text


def test_sections_without_data_are_left_out(page: Path, plain_report: Report) -> None:
    plain, figures = plain_report
    sections = re.compile(r'<h2 id="(\w+)">')
    assert sections.findall(plain) == ["placement", "scores", "cost", "provenance"]
    assert sections.findall(page.read_text("utf-8")) == [
        *("placement", "scores", "accuracy", "energy", "sensitivity", "cost", "provenance")
    ]
    assert [figure.name for figure in figures] == ["placement", "scores-maxnn", "cost-prefill", "cost-decode"]


def test_figures_are_files_with_their_tables(tmp_path: Path) -> None:
    figures = score_figures(PLAN)
    write_figures(figures, tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".svg", ".pdf", ".png", ".csv"}
    for figure in figures:
        ElementTree.parse(tmp_path / f"{figure.name}.svg")
        with (tmp_path / f"{figure.name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert tuple(rows[0]) == figure.columns
        assert len(rows) == len(figure.rows) + 1


def test_command(tmp_path: Path) -> None:
    out = ("-o", tmp_path / "r.html", "--figures", tmp_path / "figures", "--width", "120mm")
    result = hetc("report", SAMPLE / "model.onnx", *out)
    assert result.returncode == 0, result.stderr
    svg = (tmp_path / "figures" / "placement.svg").read_text("utf-8")
    assert float(re.search(r'width="([\d.]+)pt"', svg)[1]) == pytest.approx(120 * POINTS_PER_MM)  # type: ignore[index]
    assert "layers.3.experts.15" in (tmp_path / "r.html").read_text("utf-8")
    again = hetc("report", SAMPLE / "model.onnx", "-o", tmp_path / "r.html")
    assert (again.returncode, "--force" in again.stderr) == (2, True)
    narrow = hetc("report", SAMPLE / "model.onnx", "-o", tmp_path / "n.html", "--width", "3mm")
    assert (narrow.returncode, "60 to 500 mm" in narrow.stderr) == (2, True)
    missing = hetc(
        "report", SAMPLE / "model.onnx", "--results", tmp_path / "none.csv", "-o", tmp_path / "n.html"
    )
    assert (missing.returncode, (tmp_path / "n.html").exists()) == (2, False)


def swept(folder: Path, **changes: object) -> Path:
    """A table of results of the sample, as a sweep writes it."""
    row = {
        "fraction": 0.5,
        "score": "maxnn",
        "seed": 0,
        "noise_scale": 8.0,
        "task": "heldout",
        "metric": "loss",
        "value": 3.0,
        "noise": "pcm",
        "model_sha256": sha256(SAMPLE / "model.onnx"),
        **changes,
    }
    path = folder / f"{len(list(folder.iterdir()))}.csv"
    write_results(path, [row], ".csv")
    return path


def test_results_of_several_tables_are_one_figure(tmp_path: Path) -> None:
    one, two = swept(tmp_path), swept(tmp_path, seed=1, value=4.0)
    others = [swept(tmp_path, noise_scale=4.0, profile_sha256=letter * 64) for letter in "ab"]
    figures = report(SAMPLE / "model.onnx", tmp_path / "r.html", results=[one, two, *others], noise_scale=8)
    (figure,) = (figure for figure in figures if figure.name.startswith("fraction"))
    assert figure.rows == (("maxnn", 0.5, 3.5, pytest.approx(0.5**0.5), 2),)
    assert "4 measurements, 2 seeds" in (tmp_path / "r.html").read_text("utf-8")


def test_other_conditions_are_figures_of_their_own(tmp_path: Path) -> None:
    profiles = [{"profile_sha256": letter * 64} for letter in "ab"]
    tables = [swept(tmp_path, value=3.0 + number, **each) for number, each in enumerate(profiles)]
    found = fraction_figures(read_results(*tables))
    assert [figure.rows[0][2] for figure in found] == [3.0, 4.0]
    assert [figure.title for figure in found] == [
        f"heldout, loss (pcm, c = 8, profile_sha256 {letter * 8})" for letter in "ab"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_sha256": "0" * 64}, "of another model: its sha256 is 000000000000"),
        ({"value": "high"}, 'value is "high"; it must be a number'),
    ],
)
def test_results_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    results = swept(tmp_path, **change)
    done = hetc("report", SAMPLE / "model.onnx", "--results", results, "-o", tmp_path / "r.html")
    assert (done.returncode, message in done.stderr) == (3, True), done.stderr
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv"]


HOSTILE = (
    "<script>alert(1)</script>",
    "a/b\0c",
    "x" * 240,
    "\x1b[2J",
    '"><svg onload=x role="grid">',
    "\ud800",
    "..",
)


def test_names_from_anywhere_are_text(tmp_path: Path, page: Path) -> None:
    names = cycle(HOSTILE)
    units = tuple(
        replace(
            unit,
            id=f"{unit.id}{name}",
            reason=name,
            score=dict.fromkeys(HOSTILE if unit.score else [], 0.5),
            nodes=(name,),
        )
        for unit, name in zip(PLAN.units, names, strict=False)
    )
    every = "".join(HOSTILE)
    source = {"file": every, "sha256": every, "producer": every}
    plan = replace(PLAN, units=units, score=HOSTILE[0], source=source)
    results = [
        replace(
            one, score=name, task=every, metric=f"loss{every}", unit=name, noise=every, kind=one.kind and name
        )
        for one, name in zip(RESULTS, names, strict=False)
    ]
    hostile, figures = build_report(plan, load_costs(), title=every, results=results, results_from=every)
    parser = Tags()
    parser.feed(hostile)
    expected = Tags()
    expected.feed(page.read_text("utf-8"))
    assert set(parser.seen) <= set(expected.seen), "no tag or attribute that isn't ours"
    assert hostile.count("<script>") == 1
    assert all(c.isprintable() or c == "\n" for c in hostile)
    hostile.encode("utf-8")
    write_figures(figures[1:3], tmp_path)
    files = list(tmp_path.rglob("*"))
    assert len(files) == 4 * 2
    assert {file.parent for file in files} == {tmp_path}
    for file in tmp_path.glob("*.svg"):
        ElementTree.parse(file)


class Tags(HTMLParser):
    """Which tags a page has, with the names of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, frozenset[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, frozenset(name for name, _ in attrs)))


def test_names_of_files_are_safe_and_differ() -> None:
    names = file_names(["a/b", "a_b", "A_B", "", "..", "x" * 300, "x" * 301, "scores-maxnn", "µ"])
    assert names[:3] == ["a_b", "a_b-2", "A_B-3"]
    assert names[7] == "scores-maxnn"
    assert len({name.lower() for name in names}) == len(names)
    assert all(re.fullmatch(r"[\w-][\w.-]{0,124}", name, re.ASCII) for name in names), names


def test_a_plan_with_odd_numbers_makes_a_page_of_ordinary_size(plain_report: Report) -> None:
    """Experts are drawn in their order, whatever numbers they have; units without a layer stand below."""
    odd = tuple(
        replace(
            unit,
            layer=None if unit.kind == "attention" else unit.layer,
            expert=None if unit.expert is None else unit.expert * 20_000_000,
        )
        for unit in PLAN.units
    )
    page, _ = build_report(replace(PLAN, units=odd), load_costs(), title="odd")
    plain, _ = plain_report
    assert len(page) < 2 * len(plain)
    dense = tuple(unit for unit in PLAN.units if unit.kind != "expert")
    basis = CostBasis(load_costs())
    assert "<path" in page_svg(placement_figure(replace(PLAN, units=dense), basis), COLUMN, salt="")


def test_outputs_are_checked_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "open_plan", lambda target: pytest.fail("work was done"))
    (tmp_path / "r.html").write_text("kept")
    with pytest.raises(UsageError, match="exists"):
        report(SAMPLE / "model.onnx", tmp_path / "r.html")
    with pytest.raises(OutputError):
        report(SAMPLE / "model.onnx", tmp_path / "none" / "r.html")
    (tmp_path / "figures").mkdir()
    with pytest.raises(UsageError, match="exists"):
        report(SAMPLE / "model.onnx", tmp_path / "new.html", figures=tmp_path / "figures")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "r.html"]


OVERFLOWING = """[...document.querySelectorAll('main *, header *')].filter(each => {
    if (each.closest('details, .scroll') || !each.getClientRects().length) return false;
    const box = each.getBoundingClientRect();
    return box.left < -1 || box.right > innerWidth + 1;
}).map(each => each.outerHTML.slice(0, 80))"""
CUT = """[...document.querySelectorAll('.chart text')].filter(text => {
    const box = text.getBoundingClientRect(), chart = text.ownerSVGElement.getBoundingClientRect();
    return chart.width && (box.left < chart.left - 1 || box.right > chart.right + 1 ||
        box.top < chart.top - 1 || box.bottom > chart.bottom + 1);
}).map(text => text.textContent)"""
SMALLEST = """Math.min(...[...document.querySelectorAll('.chart text')]
    .filter(text => text.getClientRects().length)
    .map(text => parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a))"""
FAINT = """(() => {
    const numbers = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const light = colour => numbers(colour).map(each => each / 255)
        .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
        .reduce((sum, each, place) => sum + each * [0.2126, 0.7152, 0.0722][place], 0);
    const behind = light(getComputedStyle(document.body).backgroundColor);
    const ratio = (one, two) => (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    const contrast = colour => ratio(light(colour), behind);
    const texts = [...document.querySelectorAll('body *')].filter(each => each.getClientRects().length &&
        [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
    const cells = [...document.querySelectorAll('.cells path')];
    const fill = each => getComputedStyle(each).fill;
    const colour = each => each.closest('svg') ? fill(each) : getComputedStyle(each).color;
    const faint = cells.filter(each => contrast(fill(each)) < 3);
    faint.push(...texts.filter(each => contrast(colour(each)) < 4.5));
    return faint.map(each => each.outerHTML.slice(0, 80));
})()"""


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 390])
def test_page_in_a_browser(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    noise = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
    assert [event for event in browser.events if event.get("method") in noise] == []
    requests = [event for event in browser.events if event.get("method") == "Network.requestWillBeSent"]
    assert [event["params"]["request"]["url"] for event in requests] == [page.resolve().as_uri()]
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(21, 24, 28)" if dark else "rgb(255, 255, 255)")

    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(OVERFLOWING) == browser.evaluate(CUT) == browser.evaluate(FAINT) == []
    assert browser.evaluate(SMALLEST) >= 10
    cells = "[...document.querySelectorAll('.cells path')].filter(each => each.getBoundingClientRect().width)"
    assert browser.evaluate(f"{cells}.length") == len(PLAN.units), "one form of the figure shows all units"
    unnamed = "[...document.querySelectorAll('svg')].filter(svg => !svg.getAttribute('aria-label')).length"
    assert browser.evaluate(unnamed) == 0
    figures = "document.querySelectorAll('figure').length"
    assert (
        browser.evaluate(figures) == browser.evaluate("document.querySelectorAll('figure table').length") > 0
    )


@needs_chromium
def test_page_in_print(browser: Browser, page: Path) -> None:
    """On paper it is light, whatever the screen is, and no chart is parted from its title."""
    browser.open(page, width=718, dark=True, media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate(OVERFLOWING) == browser.evaluate(CUT) == browser.evaluate(FAINT) == []
    figures = "[...document.querySelectorAll('figure')]"
    parted = f"{figures}.filter(each => getComputedStyle(each).breakInside !== 'avoid').length"
    assert browser.evaluate(parted) == 0
    lone = "[...document.querySelectorAll('section > p')].map(each => getComputedStyle(each))"
    lone += ".filter(style => style.breakAfter !== 'avoid' || style.breakInside !== 'avoid').length"
    assert browser.evaluate(lone) == 0
    tall = f"Math.max(...{figures}.map(each => each.offsetHeight))"
    assert browser.evaluate(tall) < 980, "a figure fits a page"


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_keyboard_moves_between_units(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width, dark=False)
    focused = "document.activeElement.getAttribute('aria-label') || ''"
    for _ in range(20):
        browser.press("Tab")
        if browser.evaluate("Boolean(document.activeElement.closest('.cells'))"):
            break
    seen = [browser.evaluate(focused)]
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "End"):
        browser.press(key)
        seen.append(browser.evaluate(focused))
        assert browser.evaluate("document.querySelector('.detail').textContent") == seen[-1]
    assert [label.split(";")[0] for label in seen[-6:]] == [
        "layers.0.router",
        "layers.0.experts.0",
        "layers.1.experts.0",
        "layers.1.router",
        "layers.0.router",
        "layers.0.experts.3",
    ]
    assert f"reason {PLAN.by_id['layers.0.experts.3'].reason}" in seen[-1]
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.tagName") == "SUMMARY"
    browser.evaluate("document.activeElement.click()")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.getAttribute('aria-label')") == "Table of Placement"
