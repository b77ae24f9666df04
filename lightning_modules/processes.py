"""Processes that work for this one, and do not outlive it."""

import ctypes
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Has the kernel kill this process when the one that started it is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def end_with_parent() -> None:
    """Has the kernel send SIGTERM to this process when the one that started it is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def worker_pool(num_workers: int) -> ProcessPoolExecutor:
    """Fresh processes, which would wait for work for ever if this one were killed, were they not to die with it."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=die_with_parent)
