import html
import re
import subprocess
import sys

import pytest

from reports import figures
from reports.figures import Dot, Panel, scatter_figure, to_png, to_svg
from reports.records import GRAD_NORM_AFTER, MetricPoint, TrialState
from tests.reports.helpers import MakeTrial

COUNTS = ((5, 1), (0, 6))


def test_png_and_svg_are_the_same_twice(trial: MakeTrial) -> None:
    history = trial(0).history
    png = [figures.to_png(figures.learning_curves(history)) for _ in range(2)]
    svg = [figures.to_svg(figures.learning_curves(history)) for _ in range(2)]
    assert png[0] == png[1]
    assert png[0].startswith(b"\x89PNG")
    assert svg[0] == svg[1]


def test_pyplot_is_never_imported() -> None:
    """Seen in a process of its own: other tests may import what imports it."""
    code = (
        "import sys; from reports import figures;"
        "assert 'matplotlib' not in sys.modules;"
        "figures.to_png(figures.confusion_figure(((1, 0), (0, 1)), ('en', 'es')));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_are_put_back() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.to_svg(figures.confusion_figure(COUNTS, ("en", "es")))
    assert dict(mpl.rcParams) == before


def test_svg_can_stand_beside_another(trial: MakeTrial) -> None:
    svg = figures.to_svg(figures.learning_curves(trial(0).history), key="one", alt='a "quote" & <more>')
    assert set(re.findall(r'\bid="(\w+)-', svg)) == {"one"}
    assert all(target.startswith("one-") for target in re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', svg)[0] if target)
    assert 'aria-label="a &quot;quote&quot; &amp; &lt;more&gt;"' in svg
    assert "http" not in svg
    assert "DejaVu" not in svg
    assert "var(--blue, #0072b2)" in svg


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.DIVERGED, TrialState.PRUNED, TrialState.RUNNING])
def test_every_state_has_a_curve(state: TrialState) -> None:
    curve = figures.Curve(number=1, state=state, points=((0, 2.0), (1, 1.5)))
    assert figures.to_svg(figures.curves_figure([curve], objective="val/x", guess=2.3))


def test_what_is_missing_is_left_out() -> None:
    assert figures.to_png(figures.learning_curves({}))
    empty = figures.Curve(number=1, state=TrialState.FAILED, points=())
    assert figures.to_svg(figures.curves_figure([empty], objective="val/x"))


def test_an_epoch_whose_steps_were_all_dropped_has_no_norm_to_draw(trial: MakeTrial) -> None:
    history = trial(0).history | {GRAD_NORM_AFTER: (MetricPoint(step=0, value=0.0, time_ms=0),)}
    _, norms = figures.learning_curves(history).axes
    assert norms.get_yscale() == "log"
    assert [line.get_label() for line in norms.lines] == ["largest before clipping", "mean before clipping"]
    assert figures.to_png(figures.learning_curves(history))


def test_one_language_never_spoken_and_one_dot_are_drawn() -> None:
    assert figures.to_png(figures.confusion_figure(((0, 0), (1, 0)), ("en", "es")))
    dot = figures.Dot(x=1e-3, y=2.0, group="")
    panel = figures.Panel(title="rate", dots=(dot,), log=True)
    assert figures.to_svg(figures.scatter_figure([panel], objective="val/x"))


def test_only_diverged_dots_are_drawn() -> None:
    dots = tuple(figures.Dot(x=x, y=4.6, group="none", diverged=True) for x in (1.0, 2.0))
    assert figures.to_svg(figures.scatter_figure([figures.Panel(title="norm", dots=dots, log=True)], objective="val/x"))


@pytest.mark.parametrize("name", ["$$", r"a $\frac{x$", "50 $ and 60 $"])
def test_dollars_in_names_are_dollars(name: str) -> None:
    panel = Panel(title=name, dots=(Dot(x=0.0, y=1.0, group="", diverged=False),), ticks=(name,))
    figure = scatter_figure([panel], objective=name)
    assert name in html.unescape(to_svg(figure))
    assert to_png(figure)


def test_whole_numbers_have_whole_ticks() -> None:
    dots = tuple(Dot(x=float(x), y=1.0 + x, group="", diverged=False) for x in (1, 3))
    figure = scatter_figure([Panel(title="num_layers", dots=dots)], objective="objective")
    to_png(figure)
    (axis,) = figure.axes
    assert {label.get_text() for label in axis.get_xticklabels()} >= {"1", "2", "3"}
