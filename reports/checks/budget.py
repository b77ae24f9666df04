"""Did the arms of a comparison have the same budget? One that had more draws or more seeds has an advantage."""

from reports.ablation import Ablation, compare
from reports.checks._base import Check, Status
from reports.records import StudyRecord
from reports.sections._text import listing


def look(study: StudyRecord) -> tuple[Status, str]:
    """Compare what the arms were tuned by, and how many seeds of each have ended."""
    ablation = compare(study)
    if ablation is None:
        return "skipped", "The study compares no arms."
    found = [each for each in (_tuning(ablation), _seeds(ablation)) if each]
    if found:
        return "warning", " ".join(found)
    return "passed", "All arms had the same draws to be tuned by, and the same seeds."


def _tuning(ablation: Ablation) -> str:
    if not ablation.config["tuning"]:
        return "Nothing was tuned: the base alone keeps values that a whole sweep chose for it."
    untuned = ablation.config.get("untuned", ())
    if not untuned:
        return ""
    return f"No draw of {listing(untuned)} trained to its end, so that the other arms alone are tuned."


def _seeds(ablation: Ablation) -> str:
    ended = {arm.name: len(arm.replicates) for arm in ablation.arms}
    most = max(ended.values())
    fewer = [f"{name} ({number})" for name, number in ended.items() if number < most]
    return f"Of some arms fewer than {most} seeds have a result: {listing(fewer)}." if fewer else ""


CHECK = Check(code="budget", title="Arms with unequal budgets", look=look)
