"""Did the arms of a comparison have the same budget? One that had more draws or more seeds has an advantage."""

from reports.ablation import Ablation, compare
from reports.checks._base import Check, Status
from reports.records import StudyRecord
from reports.wording import listing


def look(study: StudyRecord) -> tuple[Status, str]:
    """Compare what the arms were tuned by, and how many seeds of each have ended."""
    ablation = compare(study)
    if ablation is None:
        return "skipped", "The study compares no arms."
    found = [each for each in (_tuning(ablation), "" if ablation.is_interim else _seeds(ablation)) if each]
    if found:
        return "warning", " ".join(found)
    if ablation.is_interim:
        return "skipped", "The comparison is under way."
    draws = "draws that trained to the end, and seeds with a result" if ablation.config["tuning"] else "seeds"
    return "passed", f"All arms had equally many {draws}."


def _tuning(ablation: Ablation) -> str:
    if not ablation.config["tuning"]:
        return "Nothing was tuned: the base alone keeps values that a whole sweep chose for it."
    draws, asked = ablation.config.get("draws", {}), ablation.config["tuning"]
    fewer = [f"{arm} ({draws[arm]})" for arm in draws if draws[arm] < asked]
    if not fewer:
        return ""
    return (
        f"Of some arms fewer than the {asked} draws that they were to be tuned by trained to the end: {listing(fewer)}."
    )


def _seeds(ablation: Ablation) -> str:
    ended = {arm.name: len(arm.replicates) for arm in ablation.arms}
    most = max(ended.values())
    fewer = [f"{name} ({number})" for name, number in ended.items() if number < most]
    return f"Of some arms fewer than {most} seeds have a result: {listing(fewer)}." if fewer else ""


CHECK = Check(code="budget", title="Arms with unequal budgets", look=look)
