"""From a study's record to files: one HTML page that needs nothing beside it, Markdown, LaTeX, tables and figures.

The same runs give the same bytes: nothing here asks for the time, and figures carry neither dates nor random ids.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reports import comparison, latex
from reports.figures import to_png, to_svg, to_svg_file
from reports.records import StudyRecord
from reports.sections import SECTIONS, ablation, answer, cost
from reports.sections._blocks import Block, Clips, Drawing
from reports.sections._scores import SCORES, key_of
from reports.trials_table import trials_csv, write_trials_parquet
from reports.wording import NOTHING, count, duration, listing, number, spread, states_text, times

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATES: Final = Path(__file__).parent / "templates"
HTML: Final = "index.html"
MARKDOWN: Final = "report.md"
LATEX: Final = "tables.tex"
CSV: Final = "trials.csv"
PARQUET: Final = "trials.parquet"
FIGURES: Final = "figures"
CLIPS: Final = "clips"


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where the report lies."""

    html: Path
    markdown: Path
    latex: Path
    csv: Path
    parquet: Path
    figures: Path
    clips: Path


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


@dataclass(frozen=True, kw_only=True)
class Page:
    """What templates set."""

    title: str
    question: str
    cards: tuple[Card, ...]
    parts: tuple[Part, ...]
    made_from: str


def write_report(study: StudyRecord, folder: Path) -> ReportFiles:
    """Write the report of a study into a folder, which is made where it is missing.

    Args:
        study: what `reports.load.load_study` read.
        folder: gets index.html, report.md, tables.tex, trials.csv and .parquet, each figure as SVG and PNG in
            `figures`, and what the study has to hear in `clips`; files of these names are replaced.
    """
    parts = [Part(key=s.key, title=s.title, blocks=s.blocks(study)) for s in SECTIONS]
    page = Page(
        title=study.manifest.name,
        question=study.manifest.question,
        cards=cards(study),
        parts=tuple(part for part in parts if part.blocks),
        made_from=f"MLflow experiment {study.experiment_id}, run {study.run_id}",
    )
    return _write(page, [study], folder)


def write_comparison(studies: Sequence[StudyRecord], folder: Path) -> ReportFiles:
    """Write what several studies found side by side, the first against each of the others.

    Args:
        studies: two or more.
        folder: gets the files of a report; its tables of trials hold those of all studies.
    """
    names = [study.manifest.name for study in studies]
    blocks = comparison.present(comparison.summarise(studies))
    page = Page(
        title=f"{names[0]} beside {listing(names[1:])}",
        question="",
        cards=(),
        parts=(Part(key="comparison", title="Studies side by side", blocks=blocks),),
        made_from=f"MLflow experiments {listing(study.experiment_id for study in studies)}",
    )
    return _write(page, studies, folder)


def _write(page: Page, studies: Sequence[StudyRecord], folder: Path) -> ReportFiles:
    drawings = [block for part in page.parts for block in part.blocks if isinstance(block, Drawing)]
    drawn = {drawing.key: drawing.draw() for drawing in drawings}
    assert len(drawn) == len(drawings), "two figures of a page have one key"
    environment = _environment(drawn)
    files = ReportFiles(
        html=folder / HTML,
        markdown=folder / MARKDOWN,
        latex=folder / LATEX,
        csv=folder / CSV,
        parquet=folder / PARQUET,
        figures=folder / FIGURES,
        clips=folder / CLIPS,
    )
    folder.mkdir(parents=True, exist_ok=True)
    files.html.write_text(environment.get_template("report.html").render(page=page), encoding="utf-8")
    markdown = environment.get_template("report.md").render(page=page, figures=FIGURES, clips=CLIPS)
    files.markdown.write_text(markdown, encoding="utf-8")
    files.latex.write_text(_latex(environment, page), encoding="ascii")
    files.csv.write_text(trials_csv(*studies), encoding="utf-8")
    write_trials_parquet(*studies, path=files.parquet)
    _empty(files.figures, ("*.svg", "*.png"))
    _empty(files.clips, ("mistake-*.mp3",))
    if drawn:
        files.figures.mkdir(exist_ok=True)
    for key, figure in drawn.items():
        (files.figures / f"{key}.svg").write_text(to_svg_file(figure), encoding="utf-8")
        (files.figures / f"{key}.png").write_bytes(to_png(figure))
    clips = [clip for part in page.parts for block in part.blocks if isinstance(block, Clips) for clip in block.clips]
    if clips:
        files.clips.mkdir(exist_ok=True)
    for clip in clips:
        (files.clips / f"{clip.key}.mp3").write_bytes(clip.mp3)
    return files


def _empty(folder: Path, patterns: tuple[str, ...]) -> None:
    """What an earlier report left there, which had other figures, or speech to hear."""
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


# --- the top of the page ----------------------------------------------------------------------------------------------


def cards(study: StudyRecord) -> tuple[Card, ...]:
    """What a reader wants to know before reading."""
    found, spent = answer.summarise(study), cost.summarise(study)
    chosen = Card(
        title="Objective, development",
        value=number(found.chosen_objective),
        note=_objective_note(found) if found.chosen is not None else "no complete trial",
    )
    if compared := ablation.summarise(study):
        base = compared.arms[0]
        chosen = Card(
            title="Objective of the base, development",
            value=spread(base.mean.mean, base.mean.sd) if base.mean else NOTHING,
            note=f"{compared.objective_name}, {count(len(base.objectives), 'seed')}{_nothing(found)}; lower is better",
        )
    trials = Card(title="Trials", value=f"{sum(found.states.values()):,}", note=states_text(found.states) or "none yet")
    each = f"{duration(spent.mean)} a complete trial" if spent.mean is not None else "no complete trial"
    time = Card(title="Wall time", value=duration(spent.wall), note=each if spent.num_ended else "not recorded")
    return (trials, chosen, *_test_cards(found), time)


def _objective_note(found: answer.Answer) -> str:
    score = SCORES.get(key_of(found.objective_name))
    unit = f" in {score.unit}" if score and score.unit else ""
    return f"{found.objective_name}{unit}, trial {found.chosen}{_nothing(found)}; lower is better"


def _nothing(found: answer.Answer) -> str:
    return f"; chance {number(found.nothing_known)}" if found.nothing_known is not None else ""


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


def _latex(environment: "Environment", page: Page) -> str:
    """Braces and percent signs are LaTeX's own, so that its template is marked by others."""
    environment = environment.overlay(
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>"
    )
    environment.filters.update(tex=latex.escaped, tex_columns=latex.columns)
    return environment.get_template("tables.tex").render(page=page, long=latex.LONG)


def _environment(drawn: Mapping[str, "Figure"]) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup

    def svg(drawing: Drawing) -> Any:
        element = to_svg(drawn[drawing.key], key=drawing.key, alt=drawing.alt)
        return Markup(element)  # noqa: S704 - matplotlib wrote it, and escapes the text that it sets

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),  # Markdown escapes what a table cannot hold, and nothing else
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        kind=lambda block: type(block).__name__.lower(), svg=svg, md=_markdown_cell, sort=_sort_key, base64=_base64
    )
    return environment


def _markdown_cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").strip()


def _base64(content: bytes) -> str:
    return b64encode(content).decode("ascii")


def _sort_key(value: float | str) -> str:
    return repr(value) if isinstance(value, float) else str(value)
