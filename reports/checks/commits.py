"""Did all trials run the same code, on the same libraries?"""

from collections import Counter

from reports.checks._base import Check, Status
from reports.records import TAG_COMMIT, TAG_DIFF, TAG_VERSIONS, StudyRecord
from reports.wording import listing


def look(study: StudyRecord) -> tuple[Status, str]:
    """Compare commit and uncommitted change of the trials."""
    tagged = [trial for trial in study.trials if TAG_COMMIT in trial.tags]
    if not tagged:
        return "skipped", "No trial recorded its commit."
    libraries = {trial.tags[TAG_VERSIONS] for trial in tagged if TAG_VERSIONS in trial.tags}
    if len(libraries) > 1:
        return "warning", f"Trials ran on {len(libraries)} sets of library versions: they may not be comparable."
    versions = Counter(trial.tags[TAG_COMMIT][:10] + ("+" if TAG_DIFF in trial.tags else "") for trial in tagged)
    if len(versions) > 1:
        return (
            "warning",
            f"Trials ran on several versions of the code ({listing(versions)}): they may not be comparable.",
        )
    version = next(iter(versions))
    if version.endswith("+"):
        return (
            "warning",
            f"All trials ran on {version[:-1]} with uncommitted changes: commit them to make this repeatable.",
        )
    return "passed", f"All trials ran on {version}."


CHECK = Check(code="commits", title="Several versions of the code", look=look)
