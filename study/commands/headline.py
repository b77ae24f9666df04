"""The first line of a sweep: what is searched, how much at a time, and on which languages."""

import os
from collections.abc import Sequence
from typing import assert_never

from reports.wording import listing
from study.combinations import idle_pruner
from study.devices import Slot
from study.launchers.config import InlineConfig, LocalConfig, RayConfig, SlurmConfig
from study.plan import StudyPlan


def headline(plan: StudyPlan) -> str:
    """A study in one line, before it begins."""
    data = plan.config.trial.data
    beside = f", with {listing(data.further_languages)} in training" if data.further_languages else ""
    unpruned = "; trials are too short to be pruned" if idle_pruner(plan.config, plan.space) else ""
    return (
        f"study {plan.config.name}: {plan.num_trials} trials of space {plan.space.name}, {_width(plan)}, "
        f"on {data.corpus} ({', '.join(data.languages)}{beside}){unpruned}"
    )


def _width(plan: StudyPlan) -> str:
    """How many trials run at a time, and on what."""
    launcher = plan.config.launcher
    match launcher:
        case LocalConfig() | InlineConfig():
            return f"{len(plan.slots)} at a time with {_share(plan.slots[0])} each{_crowding(plan.slots)}"
        case RayConfig():
            most = "as many at a time as fit on Ray" if launcher.slots is None else f"up to {launcher.slots} on Ray"
            return f"{most} with {_threads(launcher.cpus_per_slot)} each"
        case SlurmConfig():
            return f"{launcher.slots} jobs at a time with {_threads(launcher.cpus)} each"
        case _:
            assert_never(launcher)


def _share(slot: Slot) -> str:
    """What one trial gets: threads, and the processes that share them."""
    threads = _threads(slot.num_threads)
    return f"{threads} in {len(slot.devices)} processes" if len(slot.devices) > 1 else threads


def _crowding(slots: Sequence[Slot]) -> str:
    """A warning where there are more threads than cores."""
    wanted, num_cores = sum(slot.num_threads for slot in slots), len(os.sched_getaffinity(0))
    return f" (more than the {num_cores} cores can do at once)" if wanted > num_cores else ""


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"
