"""What keeps the rounds of the event loop short beside threads that work."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_S = 0.0005


@contextmanager
def calm() -> Iterator[None]:
    """Settings of the interpreter for a loop that makes many small system calls.

    After each of them the loop waits until another thread gives way: Python's 5 ms, twenty times a report, would add up
    while MLflow's thread works. And the garbage collector need not look again and again at what was there before the
    loop, hundreds of thousands of objects of imported modules.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
