"""The documentation's pages: all are in the site, and what they link to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hetc.base import errors
from hetc.base.schema import SCHEMAS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "samples").rglob("README.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|\bsrc(?:set)?=\"([^\"]+)\"")


def links(page: Path) -> list[str]:
    found = (match[1] or match[2] for match in LINK.finditer(page.read_text("utf-8")))
    return [link for link in found if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_site() -> None:
    said = (ROOT / "mkdocs.yml").read_text("utf-8")
    sources = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("notebooks/*.py")]
    assert [path.name for path in sources if path.name not in said] == []


def test_every_schema_has_its_keys_listed() -> None:
    listed = re.findall(r"<!-- keys: (\w+) -->", (ROOT / "docs" / "keys.md").read_text("utf-8"))
    assert sorted(listed) == sorted(SCHEMAS)


def test_every_exit_code_is_explained() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    codes = {getattr(errors, name).exit_code for name in errors.__all__}
    assert codes <= {int(code) for code in re.findall(r"^\| (\d) \|", text, re.MULTILINE)}
