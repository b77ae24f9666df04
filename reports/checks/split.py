"""Do two splits share a source or a speaker? Then the announcer may have been recognised, and not the language."""

from reports.checks._base import Check, Status
from reports.records import StudyRecord
from reports.sections.data import summarise
from reports.wording import count


def look(study: StudyRecord) -> tuple[Status, str]:
    """Take what the manifest says is shared, and compare the sources of its rows."""
    data = summarise(study)
    if not data.portions and not data.shared:
        return "skipped", "The study's record holds no table of its corpus."
    if not data.overlaps:
        sources = count(len(data.sources("test")), "test source")
        return "passed", f"No source stands on both sides of a split; {sources}."
    return "warning", f"{'; '.join(data.overlaps)}. Scores may speak of the source rather than of the language."


CHECK = Check(code="split", title="Splits share a source or speaker", look=look)
