"""`lidstudy score FILE`."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from rich.table import Table

from reports.score_file import FileScores, read_scores, score_table
from study.commands.console import make_console, print_json

FEW = 30
"""Utterances of a language, below which one of them moves its miss rate by more than three points."""
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


def score_file(file: Path, *, kind: Literal["llr", "log_posterior"], as_json: bool) -> None:
    """Scores a file of any system's output."""
    result = score_table(read_scores(file), kind)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result)


def _print(result: FileScores) -> None:
    console = make_console()
    console.print(
        f"{result.num_utterances} utterances, {len(result.languages)} languages, scores read as {result.kind}"
    )
    overall = asdict(result.overall)
    for key, words in MEASURES.items():
        console.print(f"  {words:<32} {overall[key]:.4f}", markup=False)
    console.print(f"  {'least C_avg(1), one threshold':<32} {result.min_cost.common:.4f}", markup=False)
    console.print(f"  {'least C_avg(1), one a language':<32} {result.min_cost.per_language:.4f}", markup=False)
    console.print("calibration is cross-fitted on this file; least costs are a bound, not a result")
    few = [each.language for each in result.languages if each.num_utterances < FEW]
    if few:
        console.print(
            f"fewer than {FEW} utterances in {', '.join(few)}: one more or less would change these numbers",
            markup=False,
        )
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("language")
    for column in ("utterances", "recall", "EER"):
        table.add_column(column, justify="right")
    for each in result.languages:
        table.add_row(each.language, str(each.num_utterances), f"{each.recall:.3f}", f"{each.eer:.3f}")
    console.print(table)
