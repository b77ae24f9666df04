"""What a check is: one doubt about a study, decided from its records."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from reports.records import StudyRecord

Status = Literal["warning", "passed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found: for a warning, what it means and what to do."""

    code: str
    title: str
    status: Status
    message: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """One doubt.

    Attributes:
        code: a short name that never changes.
        title: the doubt in a few words.
        look: returns a status and a sentence.
    """

    code: str
    title: str
    look: Callable[[StudyRecord], tuple[Status, str]]

    def run(self, study: StudyRecord) -> Finding:
        """Look at this study."""
        status, message = self.look(study)
        return Finding(code=self.code, title=self.title, status=status, message=message)
