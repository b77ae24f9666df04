"""The first line of a sweep: what is searched, how much at a time, and on which languages."""

from typing import assert_never

from study.launchers.config import InlineConfig, LocalConfig, RayConfig, SlurmConfig
from study.plan import StudyPlan


def headline(plan: StudyPlan) -> str:
    """A study in one line, before it begins."""
    data = plan.config.trial.data
    return (
        f"study {plan.config.name}: {plan.config.trials} trials of space {plan.space.name}, {_width(plan)}, "
        f"on {data.corpus} ({', '.join(data.languages)})"
    )


def _width(plan: StudyPlan) -> str:
    """How many trials run at a time, and on what."""
    launcher = plan.config.launcher
    match launcher:
        case LocalConfig() | InlineConfig():
            return f"{len(plan.slots)} at a time with {_threads(plan.slots[0].num_threads)} each"
        case RayConfig():
            most = "as many at a time as fit on Ray" if launcher.slots is None else f"up to {launcher.slots} on Ray"
            return f"{most} with {_threads(launcher.cpus_per_slot)} each"
        case SlurmConfig():
            return f"{launcher.slots} jobs at a time with {_threads(launcher.cpus)} each"
        case _:
            assert_never(launcher)


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"
