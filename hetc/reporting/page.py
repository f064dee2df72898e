"""One offline HTML page: figures with the tables behind them, and where everything comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hetc.reporting.figure import COLUMN, PAGE, Figure, page_svg, table_text
from hetc.reporting.style import DARK, LIGHT, printable

__all__ = ["Section", "build_page"]


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


def build_page(
    title: str, summary: Mapping[str, str], sections: Sequence[Section], provenance: Mapping[str, str]
) -> str:
    """The page as text. It loads nothing, from anywhere, and text from anywhere is text on it.

    Args:
        title: Of the page.
        summary: Figures at the top, by name.
        sections: The page's sections.
        provenance: What everything was made from, by name.
    """
    # What a template shows is escaped, and printable before that.
    environment = Environment(
        loader=PackageLoader("hetc", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else printable(str(value)),
    )
    environment.filters["cell"] = table_text
    shown = [
        {**vars(section), "figures": [(figure, _charts(figure, section.id)) for figure in section.figures]}
        for section in sections
    ]
    return environment.get_template("page.html").render(
        title=title,
        summary=summary,
        sections=shown,
        provenance=provenance,
        light=LIGHT,
        dark=DARK,
    )


def _charts(figure: Figure, salt: str) -> list[Markup]:
    """The chart in the width of a phone, and for wide figures in that of a page as well."""
    widths = (COLUMN, PAGE) if figure.wide else (COLUMN,)
    return [Markup(page_svg(figure, width, salt=f"{salt} {figure.name} {width}")) for width in widths]
