"""Workers end with the process that they work for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

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
