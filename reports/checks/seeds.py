"""Are there enough seeds to tell a configuration from luck?"""

from collections import Counter
from typing import Final

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import StudyRecord
from reports.wording import count

ENOUGH: Final = 3


def look(study: StudyRecord) -> tuple[Status, str]:
    """Count the replicates of the configuration that development data chose."""
    trial = select.chosen(study)
    if trial is None:
        return "skipped", "No complete trial."
    replicates = Counter(t.configuration_hash for t in select.scored(study))[trial.configuration_hash]
    if replicates >= ENOUGH:
        return "passed", f"The chosen configuration has {count(replicates, 'seed')}."
    return (
        "warning",
        f"The chosen configuration has {count(replicates, 'seed')}: its lead may be luck. Run {ENOUGH} at least.",
    )


CHECK = Check(code="seeds", title="Too few seeds", look=look)
