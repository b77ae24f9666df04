"""Trials as an MLflow database on SQLite has them, whoever wrote it: to count the work, and to time it."""

import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.work import LEARNING_RATE, MAX_NORM, Work, flat

EPOCHS = """
select m.run_uuid, m.timestamp / 1000.0, sum(case when m.key like 'time/%' then m.value else 0 end), count(*)
from metrics m join runs r using (run_uuid) join experiments e using (experiment_id)
where e.name = ? and r.status = 'FINISHED'
  and substr(m.key, 1, instr(m.key, '/')) in ('time/', 'train/', 'grad/', 'val/')
group by m.run_uuid, m.step
"""
PARAMS = "select run_uuid, count(*) from params group by run_uuid"


@dataclass
class Ran:
    """One trial; times in seconds since 1970.

    Attributes:
        began: when its first epoch began.
        ended: when its last epoch ended.
        trained_s: seconds that its epochs took, as the trial measured them.
        num_epochs: epochs whose metrics are on record.
        num_points: points of their metrics, best values of the whole trial apart.
        num_params: parameters on record.
    """

    began: float = float("inf")
    ended: float = 0.0
    trained_s: float = 0.0
    num_epochs: int = 0
    num_points: int = 0
    num_params: int = 0


def read_trials(database: Path, experiment: str) -> list[Ran]:
    """All finished trials of an experiment."""
    trials: dict[str, Ran] = {}
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        for run, ended, seconds, num_points in connection.execute(EPOCHS, [experiment]):
            trial = trials.setdefault(run, Ran())
            trial.began, trial.ended = min(trial.began, ended - seconds), max(trial.ended, ended)
            trial.trained_s += seconds
            trial.num_epochs += 1
            trial.num_points += num_points
        for run, count in connection.execute(PARAMS):
            if run in trials:
                trials[run].num_params = count
    return list(trials.values())


def check_work(ran: list[Ran], work: Work, *, num_points: int | None, who: str) -> int:
    """Ends the benchmark where a contestant did other work than the rest, or told MLflow less.

    Args:
        ran: the contestant's trials.
        work: what each contestant has to do.
        num_points: that each trial of the contestants before told; None of the first.
        who: the contestant.

    Returns:
        points that each trial told.
    """
    config = work.config(learning_rate=LEARNING_RATE[0], max_norm=MAX_NORM[0])
    asked = (
        work.epochs,
        ran[0].num_points if num_points is None and ran else num_points,
        len(flat(config.model_dump())),
    )
    done = {(trial.num_epochs, trial.num_points, trial.num_params) for trial in ran}
    if len(ran) != work.trials or done != {asked}:
        sys.exit(
            f"{who} did other work: MLflow has {len(ran)} trials with {done} (epochs, points, parameters), "
            f"not {work.trials} with {asked}."
        )
    return ran[0].num_points
