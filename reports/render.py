"""From a study's record to files: one HTML page that needs nothing beside it, Markdown, LaTeX tables, and a CSV.

The same runs give the same bytes: nothing here asks for the time, and figures carry neither dates nor random ids.
"""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reports import latex
from reports.figures import to_svg
from reports.records import StudyRecord, TrialRecord
from reports.sections import SECTIONS, answer, cost
from reports.sections import _selection as select
from reports.sections._blocks import Block, Drawing
from reports.sections._scores import SCORES, key_of
from reports.sections._text import NOTHING, count, duration, number, states_text, times

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES: Final = Path(__file__).parent / "templates"
HTML: Final = "index.html"
MARKDOWN: Final = "report.md"
LATEX: Final = "tables.tex"
CSV: Final = "trials.csv"
_LEADING: Final = ("number", "run_id", "state", "seed", "configuration_hash", "start", "end", "seconds", "failure")


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where the report lies."""

    html: Path
    markdown: Path
    latex: Path
    csv: Path


@dataclass(frozen=True, kw_only=True)
class Card:
    """One number at the top of the page."""

    title: str
    value: str
    note: str
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A section that has something to say."""

    key: str
    title: str
    blocks: tuple[Block, ...]


def write_report(study: StudyRecord, folder: Path) -> ReportFiles:
    """Write the report of a study into a folder, which is made where it is missing.

    Args:
        study: what `reports.load.load_study` read.
        folder: gets index.html, report.md, tables.tex and trials.csv; files of these names are replaced.
    """
    parts = [Part(key=s.key, title=s.title, blocks=s.blocks(study)) for s in SECTIONS]
    content = {"study": study, "parts": [part for part in parts if part.blocks], "cards": cards(study)}
    files = ReportFiles(html=folder / HTML, markdown=folder / MARKDOWN, latex=folder / LATEX, csv=folder / CSV)
    folder.mkdir(parents=True, exist_ok=True)
    files.html.write_text(_render("report.html", content), encoding="utf-8")
    files.markdown.write_text(_render("report.md", content), encoding="utf-8")
    files.latex.write_text(_latex(content), encoding="ascii")
    files.csv.write_text(trials_csv(study), encoding="utf-8")
    return files


# --- the top of the page ----------------------------------------------------------------------------------------------


def cards(study: StudyRecord) -> tuple[Card, ...]:
    """What a reader wants to know before reading."""
    found, spent = answer.summarise(study), cost.summarise(study)
    chosen = Card(
        title="Objective, development",
        value=number(found.chosen_objective),
        note=_objective_note(found) if found.chosen is not None else "no complete trial",
    )
    trials = Card(title="Trials", value=f"{sum(found.states.values()):,}", note=states_text(found.states) or "none yet")
    each = f"{duration(spent.mean)} a complete trial" if spent.mean is not None else "no complete trial"
    time = Card(title="Wall time", value=duration(spent.wall), note=each if spent.num_ended else "not recorded")
    return (trials, chosen, *_test_cards(found), time)


def _objective_note(found: answer.Answer) -> str:
    score = SCORES.get(key_of(found.objective_name))
    unit = f" in {score.unit}" if score and score.unit else ""
    nothing = f"; chance {number(found.nothing_known)}" if found.nothing_known is not None else ""
    return f"{found.objective_name}{unit}, trial {found.chosen}{nothing}; lower is better"


def _test_cards(found: answer.Answer) -> tuple[Card, ...]:
    test = found.test
    if test is None:
        return (Card(title="Test data", value=NOTHING, note="not evaluated"),)
    shown = "above chance" if test.above_chance else "above chance not shown"
    verdict = f"{shown}, {answer.tested_p(test)}" if test.p_value is not None else "above chance not tested"
    return (
        Card(
            title="Test accuracy",
            value=number(test.accuracy),
            note=f"mean over languages; chance {number(found.chance_accuracy)}; {verdict}",
            tone="good" if test.above_chance else "warn",
        ),
        Card(title="Test C_primary", value=number(test.c_primary), note="raw scores; chance 1.000; lower is better"),
        Card(
            title="Test data",
            value=count(test.num_sources, "source"),
            note=f"{count(test.num_speakers, 'speaker')}; evaluated {times(found.num_evaluations)}",
        ),
    )


# --- templates --------------------------------------------------------------------------------------------------------


def _render(template: str, content: Mapping[str, Any]) -> str:
    return _environment().get_template(template).render(content)


def _latex(content: Mapping[str, Any]) -> str:
    """Braces and percent signs are LaTeX's own, so that its template is marked by others."""
    environment = _environment().overlay(
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>"
    )
    environment.filters.update(tex=latex.escaped, tex_columns=latex.columns)
    return environment.get_template("tables.tex").render(content, long=latex.LONG)


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),  # Markdown escapes what a table cannot hold, and nothing else
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        kind=lambda block: type(block).__name__.lower(), svg=_svg, md=_markdown_cell, sort=_sort_key
    )
    return environment


def _svg(drawing: Drawing) -> Any:
    from markupsafe import Markup

    svg = to_svg(drawing.draw(), key=drawing.key, alt=drawing.alt)
    return Markup(svg)  # noqa: S704 - matplotlib wrote it, and escapes the text that it sets


def _markdown_cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").strip()


def _sort_key(value: float | str) -> str:
    return repr(value) if isinstance(value, float) else str(value)


# --- CSV --------------------------------------------------------------------------------------------------------------


def trials_csv(study: StudyRecord) -> str:
    """A row a trial, its params and its last metrics, with every digit."""
    metrics = sorted({key for trial in study.trials for key in trial.metrics})
    params = sorted({key for trial in study.trials for key in trial.params})
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*_LEADING, *metrics, *(f"param:{key}" for key in params)])
    for trial in study.trials:
        writer.writerow(_csv_row(trial, metrics, params))
    return buffer.getvalue()


def _csv_row(trial: TrialRecord, metrics: Sequence[str], params: Sequence[str]) -> list[str]:
    leading = (
        str(trial.number),
        trial.run_id,
        trial.state.value,
        str(trial.seed),
        trial.configuration_hash,
        _time(trial.start_ms),
        _time(trial.end_ms),
        _exact(select.seconds(trial)),
        trial.failure,
    )
    values = (_exact(trial.metrics.get(key)) for key in metrics)
    return [*leading, *values, *(_exact(trial.params.get(key)) for key in params)]


def _time(time_ms: int | None) -> str:
    return (
        "" if time_ms is None else datetime.fromtimestamp(time_ms / 1000.0, tz=UTC).isoformat(timespec="milliseconds")
    )


def _exact(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return repr(value)
        case str():
            return value
        case _:
            return json.dumps(value)
