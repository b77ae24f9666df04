"""Was test data looked at more than once? Then its score has been selected on, too."""

from reports.checks._base import Check, Status
from reports.records import StudyRecord
from reports.wording import listing


def look(study: StudyRecord) -> tuple[Status, str]:
    """Count the looks in the ledger."""
    num = len(study.looks)
    if num == 0 and not study.test_metrics:
        return "skipped", "No trial was evaluated on test data."
    if num == 0:
        return "warning", "There are test scores but no ledger: how often test data was looked at is unknown."
    if num == 1:
        return "passed", "Test data was evaluated once."
    numbers = sorted({entry.trial for entry in study.looks})
    trials = f"trial{'s' if len(numbers) > 1 else ''} {listing(str(number) for number in numbers)}"
    return "warning", f"Test data was evaluated {num} times ({trials}): the score is no longer of unseen data."


CHECK = Check(code="evaluations", title="More than one test evaluation", look=look)
