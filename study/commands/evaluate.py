"""`lidstudy evaluate RUN --on CORPUS`: any trial on any corpus, by condition, entered in its study's ledger."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from math import log2
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from lightning_modules.data.conditions import parse_condition
from lightning_modules.errors import ConfigError
from reports.evaluation_records import ConditionResult, Evaluation, why_no_intervals
from study.commands.console import make_console, print_json, progress_bars
from study.evaluate_on import Asked, evaluate_on
from study.recovery import read_config
from study.workspace import coordinator_lease, open_workspace

RUN: Final = re.compile(r"(?P<study>[^/]+)/(?P<number>\d+)")
COLUMNS: Final = {
    "accuracy": "acc.",
    "c_avg": "C_avg",
    "c_primary": "C_pri",
    "c_primary_calibrated": "C_pri*",
    "eer": "EER",
    "cllr_calibrated": "Cllr*",
    "p_above_chance": "p",
}


LEGEND: Final = (
    "n utterances of src sources and spk speakers, s seconds in the mean; C_pri: C_primary; * calibrated on "
    "development scores; p: of an accuracy above chance, languages permuted over sources, not corrected for there "
    "being several conditions, or earlier looks"
)


def evaluate(run: str, asked: Asked, *, folder: Path, as_json: bool) -> None:
    """Scores a trial; prints and records what was found.

    Raises:
        ConfigError: no such run or condition, or a task that has none.
        CorpusError: the corpus is not prepared, or holds what the trial was trained on, or nothing fits.
    """
    workspace = open_workspace(folder, writable=True)
    study, number = parsed_run(run)
    study_folder = workspace.existing_study(study)
    with coordinator_lease(study_folder), progress_bars(Console(stderr=True)) as progress:
        evaluation, left_out = evaluate_on(study, number, asked, workspace=workspace, progress=progress)
    if as_json:
        print_json(_in_brief(evaluation))
        return
    languages = read_config(study_folder, number).data.languages
    _print(make_console(), evaluation, languages=languages, left_out=left_out)


def _in_brief(evaluation: Evaluation) -> dict[str, Any]:
    """Without the utterances that a report draws."""
    content = dataclasses.asdict(evaluation)
    for result in content["conditions"]:
        if result["attention"] is not None:
            del result["attention"]["examples"]
    return content


def parsed_run(run: str) -> tuple[str, int]:
    """`demo/7`: a study and a trial of it.

    Raises:
        ConfigError: for anything else.
    """
    found = RUN.fullmatch(run)
    if not found:
        raise ConfigError(f"{run!r} is no run; name it STUDY/TRIAL, such as demo/7.")
    return found["study"], int(found["number"])


def _print(console: Console, evaluation: Evaluation, *, languages: Sequence[str], left_out: Sequence[str]) -> None:
    num_languages = len(languages)
    console.print(
        f"trial {evaluation.trial} on {evaluation.corpus} ({evaluation.split}); chance: accuracy "
        f"{1 / num_languages:.3f}, C_avg 0.5, C_primary 1, EER 0.5, Cllr {log2(num_languages):.3f} bits",
        soft_wrap=True,
    )
    console.print(_scores_table(evaluation.conditions))
    console.print(LEGEND, soft_wrap=True)
    scores = {name for result in evaluation.conditions for name in result.scores}
    if "cllr" in scores and "cllr_calibrated" not in scores:
        console.print("not calibrated: development speech is scored, which calibration is fitted on", soft_wrap=True)
    for line in _intervals(evaluation.conditions):
        console.print(line, soft_wrap=True, markup=False)
    console.print(_recalls_table(evaluation.conditions))
    console.print("EER, P_miss, P_fa and Cllr of each language: --json, and `lidstudy report`", soft_wrap=True)
    shares = {each.condition: each.joined for each in evaluation.conditions if each.is_joined}
    if shares:
        told = ", ".join(f"{share:.0%} of {name}" for name, share in shares.items())
        console.print(f"\njoined from several recordings: {told}", soft_wrap=True, markup=False)
    if any(result.attention is not None for result in evaluation.conditions):
        told = "where its attention lies, and what that is worth: `lidstudy report`, section Attention, or --json"
        console.print(told, soft_wrap=True, markup=False)
    for line in _languages_that_differ(evaluation.conditions, languages):
        console.print(line, soft_wrap=True, markup=False)
    for name in left_out:
        console.print(f"no speech fits {name}: it takes {_needed(name)}", soft_wrap=True, markup=False)


def _languages_that_differ(results: Sequence[ConditionResult], targets: Sequence[str]) -> Iterator[str]:
    """A line a condition that lacks a target language, or has utterances in languages that are no target."""
    if all(result.missing(targets) == list(targets) for result in results):
        there = sorted({each.language for result in results for each in result.languages})
        yield (
            f"none of the trial's languages ({', '.join(targets)}) is among those of this speech "
            f"({', '.join(there)}): all of it counts as in languages that are no target. Where only the names differ, "
            "`rename` in the corpus's file brings them together"
        )
        targets = ()
    for result in results:
        if missing := result.missing(targets):
            yield f"{result.condition}: no speech in {_languages(missing)}, so its scores are means over the others"
        if result.num_out_of_set:
            told = f"{result.condition}: {result.num_out_of_set} utterances in languages that are no target"
            if (accepted := result.scores.get("accepted_out_of_set")) is not None:
                told += f"; of their pairs with targets {accepted:.3f} are accepted"
            if (cost := result.scores.get("c_avg_open_set")) is not None:
                told += f"; C_avg with them {cost:.3f}"
            yield told


def _languages(names: Sequence[str]) -> str:
    return f"the language{'' if len(names) == 1 else 's'} {', '.join(names)}"  # `it` by itself is a pronoun


def _needed(name: str) -> str:
    condition = parse_condition(name)
    length = "a recording" if condition.duration_s is None else f"{condition.duration_s} s"
    return (
        f"two speakers of one source and language, {length} each"
        if condition.two_speakers
        else f"{length} of a speaker"
    )


def _scores_table(results: Sequence[ConditionResult]) -> Table:
    columns = [name for name in COLUMNS if any(name in result.scores for result in results)]
    table = _table_of("scores", ["n", "src", "spk", "s", *(COLUMNS[name] for name in columns)])
    for result in results:
        values = (f"{result.scores[name]:.3f}" if name in result.scores else "–" for name in columns)
        counts = (result.num_utterances, result.num_sources, result.num_speakers)
        table.add_row(result.condition, *map(str, counts), f"{result.mean_s:.1f}", *values)
    return table


def _intervals(results: Sequence[ConditionResult]) -> Iterator[str]:
    """A line a condition that has intervals; and each reason for there being none once."""
    for result in results:
        if result.intervals:
            told = (f"{name} {low:.3f} to {high:.3f}" for name, (low, high) in result.intervals.items())
            yield f"{result.condition}: 95 % for sources at large, each counted the same: {', '.join(told)}"
    yield from why_no_intervals(results)


def _recalls_table(results: Sequence[ConditionResult]) -> Table:
    languages = sorted({each.language for result in results for each in result.languages})
    table = _table_of("recall of each language", languages)
    for result in results:
        recalls = {each.language: each.recall for each in result.languages}
        table.add_row(result.condition, *(_recall(recalls, language) for language in languages))
    return table


def _table_of(title: str, headings: Sequence[str]) -> Table:
    """A row a condition, narrow enough for eighty columns."""
    table = Table(title=f"\n{title}", box=None, padding=(0, 1, 0, 0), title_justify="left", title_style="bold")
    table.add_column("condition", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _recall(recalls: dict[str, float | None], language: str) -> str:
    if language not in recalls:
        return "–"
    recall = recalls[language]
    return "no target" if recall is None else f"{recall:.2f}"
