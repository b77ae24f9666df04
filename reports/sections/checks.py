"""What the checks found: the doubts that a careful reader would have."""

from dataclasses import dataclass

from reports.checks._base import Finding, Status
from reports.records import StudyRecord
from reports.sections._blocks import Block, Cell, Column, Section, Table, Text, Tone
from reports.wording import count, listing

_WORDS: dict[Status, tuple[str, Tone]] = {
    "warning": ("look", "warn"),
    "passed": ("passed", "good"),
    "skipped": ("no data", "quiet"),
}


@dataclass(frozen=True, kw_only=True)
class Findings:
    """One finding a check: warnings first."""

    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Those that need a look."""
        return tuple(finding for finding in self.findings if finding.status == "warning")


def summarise(study: StudyRecord) -> Findings:
    """Run every check."""
    from reports.checks import CHECKS  # the checks read sections, and would meet this one half imported

    findings = [check.run(study) for check in CHECKS]
    return Findings(findings=tuple(sorted(findings, key=lambda finding: list(_WORDS).index(finding.status))))


def present(found: Findings) -> tuple[Block, ...]:
    """A sentence and a row a check."""
    titles = listing(finding.title.lower() for finding in found.warnings)
    verdict = f"{count(len(found.warnings), 'check')} of {len(found.findings)} ask for a look: {titles}."
    head = Text(verdict, tone="warn") if found.warnings else Text("All checks that could be made passed.", tone="good")
    rows = tuple(
        (Cell(_WORDS[f.status][0], tone=_WORDS[f.status][1]), Cell(f.code), Cell(f.title), Cell(f.message))
        for f in found.findings
    )
    columns = tuple(
        Column(title, numeric=False, wrap=title == "found") for title in ("result", "check", "what", "found")
    )
    return (head, Table(caption="Checks", columns=columns, rows=rows))


SECTION = Section(key="checks", title="Checks", summarise=summarise, present=present)
