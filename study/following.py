"""A study seen from its files, beside the coordinator that works on it: for `lidstudy status --follow`."""

import time
from collections.abc import Callable

from reports.records import TrialState
from study.active import ActiveTrial
from study.events import read_events
from study.opening import read_trials
from study.recovery import read_config
from study.settling import read_manifest
from study.spec import EVENTS_FILE, SPEC_FILE, read_spec
from study.trials import TrialSummary
from study.view import RemainingTime, SlotRow, Snapshot
from study.workspace import StudyFolder


class Follower:
    """Makes snapshots of a study that another process runs."""

    def __init__(self, folder: StudyFolder, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._started_at = clock()
        self._remaining = RemainingTime(clock=clock)

    def snapshot(self) -> Snapshot:
        """The study as its files have it now."""
        manifest = read_manifest(self._folder)
        trials = tuple(read_trials(self._folder))
        num_done = sum(trial.state is not TrialState.RUNNING for trial in trials)
        rows = [self._row(trial) for trial in trials if trial.state is TrialState.RUNNING]
        return Snapshot(
            study=self._folder.root.name,
            objective=str(manifest["objective"]).removeprefix("val/"),
            num_trials=manifest["num_trials"],
            elapsed_s=self._clock() - self._started_at,
            left_s=self._remaining.estimate(num_done=num_done, num_trials=manifest["num_trials"]),
            slots=tuple(sorted((row for row in rows if row is not None), key=lambda row: row.slot)),
            trials=trials,
            is_stopping=False,
            further=tuple(each["name"] for each in manifest.get("further_objectives", ())),
        )

    def _row(self, summary: TrialSummary) -> SlotRow | None:
        """What a running trial is doing; None before its first attempt."""
        place = self._folder.trial(summary.number)
        attempts = [attempt for attempt in place.attempts() if (attempt / SPEC_FILE).exists()]
        if not attempts:
            return None
        trial = ActiveTrial(number=summary.number, config=read_config(self._folder, summary.number), folder=place)
        for attempt in attempts:
            trial.take(read_events(attempt / EVENTS_FILE))
        spec = read_spec(attempts[-1])
        return None if spec is None else SlotRow.of(spec.slot.name, trial)
