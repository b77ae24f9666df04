"""Watches a coordinator under load: rounds of its loop, CPU, memory, and how far MLflow is behind."""

import sqlite3
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.simulated import METRICS, SimulatedLauncher
from benchmarks.simulated_study import Enough, Gauges
from benchmarks.stalls import Stalls
from study.active import ActiveTrial, Outcome

HEAD = ("ended", "s gone", "running", "memory MB", "reports/s", "ended/s", "cores", "round ms", "longest", "behind")
ROW = "{:>7}" + "{:>10}" * (len(HEAD) - 1)
NUM_ROWS = 8
POINTS = "select count(*) from metrics where key = ?"


@dataclass(frozen=True)
class Reading:
    """The meters at one moment."""

    at_s: float
    cpu_s: float
    num_reports: int
    num_ended: int


class Watch(Gauges):
    """Prints a row whenever an eighth of the trials has ended, and raises Enough after the last."""

    def __init__(self, launcher: SimulatedLauncher, *, database: Path, num_trials: int) -> None:
        self._launcher = launcher
        self._database = database
        self._num_trials = num_trials
        self._num_ended = 0
        self._rounds_s: list[float] = []
        self._stalls = Stalls()
        self._worst: tuple[float, list[str]] = (0.0, [])  # the longest round, and where it was seen
        self._woke_at: float | None = None  # the first round begins before the study is open
        self._own_before_s = 0.0  # what the simulation itself had taken when the round began
        self._first = self._last = self._read()
        print(ROW.format(*HEAD))

    def sleep(self, seconds: float) -> None:
        """Takes the time of the round that ends here, then sleeps."""
        self._take_round()
        time.sleep(seconds)
        if self._num_ended >= self._last.num_ended + self._num_trials / NUM_ROWS:
            self.last_row()
            if self._num_ended >= self._num_trials:
                self._stalls.close()
                print("\n".join(("", *self._worst[1])))
                raise Enough
        self._stalls.begin()
        self._own_before_s = self._launcher.own_wall_s
        self._woke_at = time.perf_counter()

    def _take_round(self) -> None:
        """The time of a round, less the simulation's own."""
        if self._woke_at is None:
            return
        own_s = self._launcher.own_wall_s - self._own_before_s
        self._rounds_s.append(time.perf_counter() - self._woke_at - own_s)
        if (lines := self._stalls.end()) and self._rounds_s[-1] > self._worst[0]:
            self._worst = (self._rounds_s[-1], lines)

    def trial_ended(self, trial: ActiveTrial, outcome: Outcome) -> None:  # noqa: ARG002 - the view's signature
        """Counts it."""
        self._num_ended += 1

    def last_row(self) -> None:
        """Prints what was measured since the row before."""
        now, before = self._read(), self._last
        passed_s = now.at_s - before.at_s
        if not self._rounds_s:
            return
        cells = (
            f"{now.num_ended:,}",
            f"{now.at_s - self._first.at_s:.0f}",
            f"{self._launcher.num_running:,}",
            f"{memory_mb():.0f}",
            f"{(now.num_reports - before.num_reports) / passed_s:.1f}",
            f"{(now.num_ended - before.num_ended) / passed_s:.1f}",
            f"{(now.cpu_s - before.cpu_s) / passed_s:.2f}",
            f"{1000 * statistics.median(self._rounds_s):.0f}",
            f"{1000 * max(self._rounds_s):.0f}",
            f"{now.num_reports - self._num_recorded():,}",
        )
        print(ROW.format(*cells), flush=True)
        self._last, self._rounds_s = now, []

    def _read(self) -> Reading:
        cpu_s = time.process_time() - self._launcher.own_s
        return Reading(time.perf_counter(), cpu_s, self._launcher.num_reports, self._num_ended)

    def _num_recorded(self) -> int:
        """Reports that MLflow has."""
        with sqlite3.connect(f"file:{self._database}?mode=ro", uri=True) as connection:
            return int(connection.execute(POINTS, [METRICS[0]]).fetchone()[0])


def memory_mb() -> float:
    """This process's resident memory."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
