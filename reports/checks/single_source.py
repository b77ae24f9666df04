"""Does a language have one source among what is scored? Then it may be the source that was recognised."""

from reports.checks._base import Check, Status
from reports.records import StudyRecord
from reports.sections.data import summarise
from reports.wording import listing


def look(study: StudyRecord) -> tuple[Status, str]:
    """Count the sources of each language in test data, or in development data where test data was left alone."""
    split = "test" if study.test_metrics else "dev"
    found: dict[str, set[str]] = {}
    for portion in summarise(study).portions:
        if portion.split == split and portion.language in study.manifest.languages:
            found.setdefault(portion.language, set()).add(portion.source)
    if not found:
        return "skipped", "The study's record does not say which sources its scored speech is from."
    name = {"test": "test", "dev": "development"}[split]
    single = sorted(language for language, sources in found.items() if len(sources) == 1)
    if not single:
        return "passed", f"Every language has several {name} sources."
    return "warning", (
        f"{listing(single)} {'have' if len(single) > 1 else 'has'} one {name} source: whether the language was "
        "recognised there, or the channel and the voices of that source, cannot be told."
    )


CHECK = Check(code="single_source", title="A language from a single source", look=look)
