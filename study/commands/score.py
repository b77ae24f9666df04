"""`lidstudy score FILE`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from lightning_modules.errors import ConfigError
from reports.records import ScoreTable
from reports.score_file import (
    Backend,
    Breakdown,
    Calibrator,
    FileScores,
    GroupScores,
    Kind,
    LanguageScores,
    OpenFileScores,
    score_open_table,
    score_table,
    scores_of,
)
from reports.score_reading import read_scores
from reports.source_bootstrap import ScoreIntervals
from study.commands.console import folder_of_figures, make_console, print_json

FEW = 30
"""Utterances of a language, below which one of them moves its miss rate by more than three points."""
FEW_TO_CALIBRATE = 10
"""Utterances of a language, below which calibration fits their accidents; Gaussians first of all."""
MEASURES = {
    "accuracy": "accuracy",
    "macro_accuracy": "accuracy, mean over languages",
    "c_avg": "C_avg (LRE07), raw",
    "c_primary": "C_primary (LRE17), raw",
    "c_primary_calibrated": "C_primary (LRE17), calibrated",
    "eer": "EER, mean over languages",
    "cllr": "Cllr in bits, raw",
    "cllr_calibrated": "Cllr in bits, calibrated",
}

OPEN_MEASURES = {
    "accuracy": "accuracy, mean over languages",
    "c_avg": "C_avg (LRE07), among targets",
    "c_primary": "C_primary (LRE17), among targets",
    "eer": "EER, mean over languages",
    "cllr": "Cllr in bits",
    "c_avg_open_set": "C_avg (LRE07), open set",
    "accepted_out_of_set": "share of out-of-set trials accepted",
}
AFTER_CALIBRATION = {
    "accuracy": "accuracy, mean over languages",
    "c_avg": "C_avg (LRE07)",
    "c_primary": "C_primary (LRE17)",
    "eer": "EER, mean over languages",
    "cllr": "Cllr in bits",
}
"""Where calibration is fitted on a file, all scores are printed again: Gaussians change more than costs."""


class Options(NamedTuple):
    """What the command line says.

    Attributes:
        kind: what the scores are.
        calibrate_on: development scores of the same system.
        backend: how these calibrate; None: by logistic regression.
        open_set: languages may be missing or too many.
        figures: where reliability, detection error and cost are drawn.
    """

    kind: Kind = "llr"
    calibrate_on: Path | None = None
    backend: Backend | None = None
    open_set: bool = False
    figures: Path | None = None


def score_file(file: Path, options: Options, *, as_json: bool) -> None:
    """Scores a file of any system's output."""
    table = read_scores(file, open_set=options.open_set)
    calibrator = None
    if options.calibrate_on is not None:
        path = options.calibrate_on
        calibrator = Calibrator(name=path.name, table=read_scores(path), backend=options.backend or "logistic")
    elif options.backend is not None:
        raise ConfigError("--backend is how scores of another file calibrate: name it with --calibrate-on.")
    if options.figures is not None:
        _draw(table, options, calibrator, as_json=as_json)
    if options.open_set:
        result = score_open_table(table, options.kind, calibrator=calibrator)
        print_json(asdict(result)) if as_json else _print_open(result)
        if calibrator is not None and not as_json:
            _warn(make_console(), calibrator, table)
        return
    closed = score_table(table, options.kind, calibrator=calibrator)
    if as_json:
        print_json(asdict(closed))
        return
    _print(closed)
    if calibrator is not None:
        _warn(make_console(), calibrator, table)


def _draw(table: ScoreTable, options: Options, calibrator: Calibrator | None, *, as_json: bool) -> None:
    from reports.figures import calibration_figure, to_png, to_svg_file
    from reports.sections.calibration import curves_of

    if options.figures is None:
        return
    shown = curves_of(scores_of(table, options.kind, calibrator=calibrator), table)
    with folder_of_figures(options.figures) as folder:
        (folder / "calibration.png").write_bytes(to_png(calibration_figure(shown)))
        (folder / "calibration.svg").write_text(to_svg_file(calibration_figure(shown)), encoding="utf-8")
    if not as_json:
        make_console().print(f"drawn: {options.figures / 'calibration'}.png and .svg", markup=False, soft_wrap=True)


def _print_open(result: OpenFileScores) -> None:
    console, found = make_console(), result.overall
    console.print(
        f"{found.num_utterances} utterances in {found.num_languages} target languages, {found.num_out_of_set} in "
        f"others; scores read as {result.kind}"
    )
    for key, value in found.known().items():
        console.print(f"  {OPEN_MEASURES[key]:<40} {value:.4f}", markup=False)
    if result.calibrated is not None:
        console.print(f"calibrated on {result.calibrated_on}:", markup=False)
        for key, value in result.calibrated.known().items():
            console.print(f"  {OPEN_MEASURES[key]:<40} {value:.4f}", markup=False)
    _print_parts(console, result.parts, result.calibrated_parts)


def _warn(console: Console, calibrator: Calibrator, table: ScoreTable) -> None:
    if both := len(set(calibrator.table.utterance) & set(table.utterance)):
        console.print(
            f"{both} of {len(table.utterance)} utterances have a name that is in {calibrator.name} too: where they are "
            "the same, what is calibrated was fitted on itself, and is too good",
            markup=False,
            soft_wrap=True,
        )
    counts = Counter(calibrator.table.language)
    if few := [language for language in calibrator.table.targets if counts[language] < FEW_TO_CALIBRATE]:
        console.print(
            f"calibration is fitted on fewer than {FEW_TO_CALIBRATE} utterances of {', '.join(few)}: it may do harm",
            markup=False,
        )


def _print_groups(console: Console, what: str, groups: Sequence[GroupScores]) -> None:
    """A row a condition or source; most sources have one language, and so no cost."""
    if not groups:
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(what)
    for column in ("utterances", "accuracy", "C_avg", "C_primary", "EER", "Cllr"):
        table.add_column(column, justify="right")
    for group in groups:
        known = group.scores.known()
        values = (known.get(key) for key in ("accuracy", "c_avg", "c_primary", "eer", "cllr"))
        total = group.scores.num_utterances + group.scores.num_out_of_set
        table.add_row(group.name, str(total), *("–" if value is None else f"{value:.3f}" for value in values))
    console.print(table)


def _named(number: int, what: str) -> str:
    """0: the table does not say."""
    return f"{number or 'unnamed'} {what}{'' if number == 1 else 's'}"


def _in_words(found: ScoreIntervals) -> str:
    """A line: the ends, or why there are none."""
    if found.accuracy is None or found.cllr is None:
        return found.reason or ""
    return (
        f"95 % for sources at large, each counted the same: accuracy {found.accuracy.low:.3f} to "
        f"{found.accuracy.high:.3f}, Cllr {found.cllr.low:.3f} to {found.cllr.high:.3f}"
    )


def _print(result: FileScores) -> None:
    console = make_console()
    console.print(
        f"{result.num_utterances} utterances, {len(result.confusion)} languages, "
        f"{_named(result.num_sources, 'source')}, {_named(result.num_speakers, 'speaker')}; "
        f"scores read as {result.kind}",
        soft_wrap=True,
    )
    overall = asdict(result.overall)
    for key, words in MEASURES.items():
        if result.calibrated is None or not key.endswith("_calibrated"):
            console.print(f"  {words:<32} {overall[key]:.4f}", markup=False)
    console.print(f"  {'least C_avg(1), one threshold':<32} {result.min_cost.common:.4f}", markup=False)
    console.print(f"  {'least C_avg(1), one a language':<32} {result.min_cost.per_language:.4f}", markup=False)
    if result.calibrated is not None:
        console.print("after calibration:")
        for key, value in result.calibrated.known().items():
            console.print(f"  {AFTER_CALIBRATION[key]:<32} {value:.4f}", markup=False)
    console.print(_in_words(result.intervals), markup=False, soft_wrap=True)
    where = f"fitted on {result.calibrated_on}" if result.calibrated_on else "cross-fitted on this file"
    console.print(f"calibration is {where}; least costs are a bound, not a result", markup=False)
    few = [each.language for each in result.parts.languages if each.num_utterances < FEW]
    if few:
        console.print(
            f"fewer than {FEW} utterances in {', '.join(few)}: one more or less would change these numbers",
            markup=False,
        )
    _print_parts(console, result.parts, result.calibrated_parts)


def _print_parts(console: Console, raw: Breakdown, calibrated: Breakdown | None) -> None:
    for parts, heading in ((raw, "raw scores:" if calibrated else ""), (calibrated, "after calibration:")):
        if parts is None:
            continue
        if heading:
            console.print(f"\n{heading}")
        _print_languages(console, parts.languages)
        _print_groups(console, "condition", parts.conditions)
        _print_groups(console, "source", parts.sources)


def _print_languages(console: Console, languages: Sequence[LanguageScores]) -> None:
    if not languages:
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("language")
    for column in ("utterances", "recall", "EER", "P_miss", "P_fa", "Cllr"):
        table.add_column(column, justify="right")
    for each in languages:
        found = each.scores
        values = (found.recall, found.eer, found.p_miss, found.p_fa, found.cllr)
        table.add_row(each.language, str(each.num_utterances), *(f"{value:.3f}" for value in values))
    console.print(table)
