"""Figures as PNG, which the tracker stores, and as SVG, which the report sets into its page.

In the SVG the ink and the colours are CSS variables with the printed colour as fallback, so that one figure serves a
light and a dark page.
"""

import html
import io
import re
from typing import TYPE_CHECKING, Final

from reports.figures._axes import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, RULE, SKY, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_VARIABLES: Final = {
    INK: "ink",
    QUIET: "quiet",
    RULE: "rule",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    VERMILION: "vermilion",
    PURPLE: "purple",
    SKY: "sky",
}
_SCREEN_REM_PER_POINT: Final = 0.09  # one scale for all figures of a page, so that their text is of one size


def to_png(figure: "Figure") -> bytes:
    """The figure on white, as PNG bytes; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    _as_written(figure)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def to_svg(figure: "Figure", *, key: str = "figure", alt: str = "") -> str:
    """The figure as an SVG element for a page: transparent, its text as text, its colours as CSS variables.

    Args:
        figure: what to draw.
        key: begins every id in the element, so that several of them can stand on one page.
        alt: what a reader who cannot see it is told.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    _as_written(figure)
    buffer = io.StringIO()
    # Both settings are read while drawing and have no argument; the context puts them back.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lidstudy"}):
        figure.patch.set_visible(False)  # the page shows through
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
        figure.patch.set_visible(True)
    return _for_page(buffer.getvalue(), key, alt)


def _as_written(figure: "Figure") -> None:
    """Names of levels, languages and sources are no mathematics, whatever dollars they hold."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)


def _for_page(svg: str, key: str, alt: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style type.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"|(<svg [^>]*?)height="[^"]*"', r"\1\2", svg, count=1)
    width = float(svg.split('viewBox="0 0 ')[1].split(" ")[0])
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'href="#', f'href="#{key}-', svg)
    svg = svg.replace("url(#", f"url(#{key}-")
    svg = re.sub(r"font: ([\d.]+px) 'DejaVu Sans'[^;\"]*", r"font-size: \1", svg)  # the page's own family
    svg = re.sub(r"font-family: 'DejaVu Sans'[^;\"]*", "", svg)
    for colour, name in _VARIABLES.items():
        svg = re.sub(colour, f"var(--{name}, {colour})", svg, flags=re.IGNORECASE)
    style = f"max-width: {width * _SCREEN_REM_PER_POINT:.2f}rem"
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" style="{style}" ', 1).strip()


def to_svg_file(figure: "Figure") -> str:
    """The figure as a document of its own, which a browser shows only with its namespace."""
    svg = to_svg(figure)
    return svg if "xmlns=" in svg else svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
