"""Workers end with the process that they work for."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lightning_modules.processes import in_order
from tests.study.helpers import until

PARENT = """
import os, time
from lightning_modules.processes import worker_pool
pool = worker_pool(1)
print(pool.submit(os.getpid).result(), flush=True)
time.sleep(600)
"""


def test_a_worker_dies_with_whoever_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        os.kill(parent.pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{worker}").exists())


def test_results_come_in_order_and_none_pile_up() -> None:
    begun: list[int] = []

    def compute(item: int) -> int:
        begun.append(item)
        return item * item

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, compute, range(100), ahead=4)
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        assert max(begun) <= 3 + 4
        assert list(results) == [number * number for number in range(3, 100)]
