"""One offline HTML page: figures with the tables behind them, and where everything comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape as escape_markup
from importlib import resources

from hetc.reporting.drawing import DARK, LIGHT, Figure, chart_style, printable

__all__ = ["Section", "build_page"]

OFFLINE = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""Content policy: the page loads nothing, from anywhere."""


@dataclass(frozen=True)
class Section:
    """A heading with figures.

    Attributes:
        id: What links refer to.
        title: The heading.
        text: A paragraph below it.
        figures: At least one.
    """

    id: str
    title: str
    text: str
    figures: Sequence[Figure]


def escape(text: str) -> str:
    """Text from anywhere as HTML that shows it, and nothing else."""
    return escape_markup(printable(text))


def build_page(
    title: str, summary: Mapping[str, str], sections: Sequence[Section], provenance: Mapping[str, str]
) -> str:
    """The page as text.

    Args:
        title: Of the page.
        summary: Figures at the top, by name.
        sections: The page's sections.
        provenance: What everything was made from, by name.
    """
    links = "".join(f'<li><a href="#{each.id}">{escape(each.title)}</a></li>' for each in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{OFFLINE}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{_colours()}
{_file("page.css")}{chart_style()}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<nav aria-label="Sections"><ul>{links}<li><a href="#provenance">Provenance</a></li></ul></nav>
</header>
<main>
<dl class="summary">{_terms(summary, boxed=True)}</dl>
{"".join(map(_section, sections))}
<section aria-labelledby="provenance">
<h2 id="provenance">Provenance</h2>
<dl class="provenance">{_terms(provenance)}</dl>
</section>
</main>
<script>
{_file("page.js")}</script>
</body>
</html>
"""


def _file(name: str) -> str:
    return resources.files("hetc.reporting").joinpath(name).read_text("utf-8")


def _colours() -> str:
    light, dark = (
        "".join(f"--{name}:{value};" for name, value in scheme.items()) for scheme in (LIGHT, DARK)
    )
    return f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}"


def _terms(terms: Mapping[str, str], *, boxed: bool = False) -> str:
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in terms.items())
    return "".join(f"<div>{pair}</div>" if boxed else pair for pair in pairs)


def _section(section: Section) -> str:
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    figures = "".join(map(_figure, section.figures))
    wide = any(map(_is_grid, section.figures))
    return f"""<section aria-labelledby="{section.id}">
<h2 id="{section.id}">{escape(section.title)}</h2>{text}
<div{"" if wide else ' class="figures"'}>{figures}</div>
</section>
"""


def _is_grid(figure: Figure) -> bool:
    """Whether a figure's cells take the focus: in an attribute, no name can look like another one."""
    return 'role="grid"' in figure.svg.partition(">")[0]


def _figure(figure: Figure) -> str:
    title, note = escape(figure.title), f"<p>{escape(figure.note)}</p>" if figure.note else ""
    if _is_grid(figure):
        chart = f'<div class="scroll">{figure.svg}</div><p class="detail" id="detail">No unit chosen yet.</p>'
    else:
        chart = figure.svg
    return f"""<figure>
<figcaption>{title}{note}</figcaption>
{chart}
<details><summary>Table of {title}</summary>
<div class="scroll" role="region" tabindex="0" aria-label="Table of {title}">{_table(figure)}</div></details>
</figure>
"""


def _table(figure: Figure) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in figure.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in figure.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))
