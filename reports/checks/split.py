"""Do two splits share a source or a speaker? Then the announcer may have been recognised, and not the language."""

from itertools import combinations

from reports.checks._base import Check, Status
from reports.records import StudyRecord
from reports.sections._text import count, listing
from reports.sections.data import SPLITS, summarise


def look(study: StudyRecord) -> tuple[Status, str]:
    """Take what the manifest says is shared, and compare the sources of its rows."""
    data = summarise(study)
    if not data.portions and not data.shared:
        return "skipped", "The study's record holds no table of its corpus."
    found = list(data.shared)
    for one, other in combinations(SPLITS, 2):
        common = sorted(data.sources(one) & data.sources(other))
        if common:
            found.append(f"{one} and {other} share {listing(f'{source} ({lang})' for lang, source in common)}")
    if not found:
        sources = count(len(data.sources("test")), "test source")
        return "passed", f"No source stands on both sides of a split; {sources}."
    return "warning", f"{'; '.join(found)}. Scores may speak of the source rather than of the language."


CHECK = Check(code="split", title="Splits share a source or speaker", look=look)
