"""Says what a round of the loop was at when it took long: a thread that looks at the loop's stack meanwhile."""

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

LONG_S = 0.5
LOOK_S = 0.02
NUM_SHOWN = 6


class Stalls:
    """Looks at the thread that made it whenever that thread's round takes long.

    Args:
        long_s: seconds from which on a round is looked at.
    """

    def __init__(self, *, long_s: float = LONG_S) -> None:
        self._long_s = long_s
        self._watched = threading.get_ident()
        self._began: float | None = None
        self._seen: Counter[str] = Counter()
        self._ended = threading.Event()
        self._collected_s = self._collecting_since = 0.0
        gc.callbacks.append(self._collect)
        threading.Thread(target=self._look, name="stalls", daemon=True).start()

    def begin(self) -> None:
        """A round begins."""
        self._seen, self._collected_s = Counter(), 0.0
        self._began = time.perf_counter()

    def end(self) -> list[str]:
        """A round is over; where it was long, lines that say where it was seen how often, most often first."""
        began, self._began = self._began, None
        took_s = 0.0 if began is None else time.perf_counter() - began
        if took_s < self._long_s:
            return []
        head = f"a round of {took_s:.2f} s, {self._collected_s:.2f} s of it in the garbage collector; seen at"
        return [head, *(f"    {count:>4} x {where}" for where, count in self._seen.most_common(NUM_SHOWN))]

    def close(self) -> None:
        """Looks no more."""
        self._ended.set()
        gc.callbacks.remove(self._collect)

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            if self._began is not None and time.perf_counter() - self._began > self._long_s / 2:
                self._seen[described(sys._current_frames()[self._watched])] += 1  # noqa: SLF001 - its public name

    def _collect(self, phase: str, _info: Mapping[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._collecting_since = now
        else:
            self._collected_s += now - self._collecting_since


def described(frame: FrameType | None) -> str:
    """A stack in one line: the innermost function, and those of ours that called it."""
    names: list[str] = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if not names or path.parent.name in ("study", "launchers", "benchmarks"):
            names.append(f"{path.stem}.{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(names[:7])
