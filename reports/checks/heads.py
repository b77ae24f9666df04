"""Was every head scored? One that no development utterance reaches was neither chosen nor calibrated by anything."""

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import StudyRecord
from reports.wording import count


def look(study: StudyRecord) -> tuple[Status, str]:
    """Compare the lengths of development utterances with the border between the chosen trial's heads."""
    chosen, table = select.chosen(study), study.scores_dev
    if chosen is None or table is None or chosen.params.get("head.kind") != "by_duration":
        return "skipped", "The chosen trial has a single head."
    border_s = float(str(chosen.params["head.border_s"]))
    num_short = sum(duration < border_s for duration in table.duration_s)
    if 0 < num_short < len(table.duration_s):
        return "passed", f"{num_short} of {count(len(table.duration_s), 'development utterance')} are the short head's."
    missing = "long" if num_short else "short"
    return "warning", (
        f"No development utterance reaches the {missing} head of trial {chosen.number}, whose border is {border_s:g} "
        "s: nothing chose what it says, and nothing calibrates it, so that its scores may be worse than guessing. "
        "Choose data.minimum_s and data.utterance_s so that development utterances lie on both sides."
    )


CHECK = Check(code="heads", title="A head that was never scored", look=look)
