"""The report as a page: complete, offline, and usable in a browser at both widths and in both schemes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from chromium import Browser, find_chromium
from command_line import SAMPLE, hetc
from report_data import PLAN, RESULTS

from hetc.costing.profile import load_costs
from hetc.reporting.write import build_report, write_figures

needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    text, _ = build_report(PLAN, load_costs(), title="A <report>", results=RESULTS, results_from="made up")
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def test_page_refers_to_nothing_outside(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "default-src 'none'" in text
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", text) == []
    assert "@import" not in text and "url(" not in text
    assert "A &lt;report&gt;" in text


def test_sections_without_data_are_left_out(page: Path) -> None:
    plain, figures = build_report(PLAN, load_costs(), title="plain")
    sections = re.compile(r'<h2 id="(\w+)">')
    assert sections.findall(plain) == ["placement", "scores", "cost", "provenance"]
    assert sections.findall(page.read_text("utf-8")) == [
        *("placement", "scores", "accuracy", "energy", "sensitivity", "cost", "provenance")
    ]
    assert [figure.name for figure in figures] == ["placement", "scores-maxnn", "cost-prefill", "cost-decode"]


def test_figures_are_files_with_their_tables(tmp_path: Path) -> None:
    _, figures = build_report(PLAN, load_costs(), title="x", results=RESULTS)
    write_figures(figures, tmp_path)
    assert len({figure.name for figure in figures}) == len(figures) > 0
    for figure in figures:
        ElementTree.parse(tmp_path / f"{figure.name}.svg")
        with (tmp_path / f"{figure.name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert tuple(rows[0]) == figure.columns
        assert len(rows) == len(figure.rows) + 1


def test_command(tmp_path: Path) -> None:
    out = ("-o", tmp_path / "r.html", "--figures", tmp_path / "figures")
    result = hetc("report", SAMPLE / "model.onnx", *out)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "figures" / "placement.svg").is_file()
    assert "layers.3.experts.15" in (tmp_path / "r.html").read_text("utf-8")
    again = hetc("report", SAMPLE / "model.onnx", "-o", tmp_path / "r.html")
    assert (again.returncode, "--force" in again.stderr) == (2, True)
    missing = hetc(
        "report", SAMPLE / "model.onnx", "--results", tmp_path / "none.csv", "-o", tmp_path / "n.html"
    )
    assert (missing.returncode, (tmp_path / "n.html").exists()) == (2, False)


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    noise = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
    assert [event for event in browser.events if event.get("method") in noise] == []
    requests = [event for event in browser.events if event.get("method") == "Network.requestWillBeSent"]
    assert [event["params"]["request"]["url"] for event in requests] == [page.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(21, 24, 28)" if dark else "rgb(255, 255, 255)")

    clipped = """[...document.querySelectorAll('.chart text')].filter(text => {
        const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
        return box.x < 0 || box.y < 0 || box.x + box.width > view.width || box.y + box.height > view.height;
    }).map(text => text.textContent)"""
    assert browser.evaluate(clipped) == []
    smallest = """Math.min(...[...document.querySelectorAll('.chart')].map(
        chart => 12 * chart.getBoundingClientRect().width / chart.viewBox.baseVal.width))"""
    assert browser.evaluate(smallest) >= 10
    unnamed = "[...document.querySelectorAll('svg')].filter(svg => !svg.getAttribute('aria-label')).length"
    assert browser.evaluate(unnamed) == 0
    figures = "document.querySelectorAll('figure').length"
    assert (
        browser.evaluate(figures) == browser.evaluate("document.querySelectorAll('figure table').length") > 0
    )


@needs_chromium
def test_keyboard_moves_between_units(browser: Browser, page: Path) -> None:
    browser.open(page, width=1280, dark=False)
    focused = "document.activeElement.getAttribute('aria-label') || ''"
    for _ in range(20):
        browser.press("Tab")
        if browser.evaluate("document.activeElement.getAttribute('role')") == "gridcell":
            break
    seen = [browser.evaluate(focused)]
    keys = ("Home", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "End")
    for key in keys if seen[0].startswith("layers") else ("ArrowUp", "ArrowUp", *keys):
        browser.press(key)
        seen.append(browser.evaluate(focused))
        assert browser.evaluate("document.getElementById('detail').textContent") == seen[-1]
    ids = [label.split(":")[0] for label in seen[-7:]]
    assert ids == [
        "layers.0.attention",
        "layers.0.router",
        "layers.0.experts.0",
        "layers.1.experts.0",
        "layers.1.router",
        "layers.0.router",
        "layers.0.experts.3",
    ]
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.tagName") == "SUMMARY"
