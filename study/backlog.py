"""Work that may wait, done in order by one thread, so that no slot waits for MLflow or a figure."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Backlog:
    """A queue of calls, run one at a time in the order they came."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="backlog")
        self._pending: deque[Future[Any]] = deque()
        self._is_broken = False

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        """Queues a call."""
        self._pending.append(self._pool.submit(self._run, call, arguments, keywords))

    def check(self) -> None:
        """Forgets what is done; raises what a call raised."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()

    def drain(self) -> None:
        """Waits for everything; raises what the first failed call raised."""
        while self._pending:
            self._pending.popleft().result()

    def _run(self, call: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """After a failure nothing more is done: later calls build on earlier ones."""
        if self._is_broken:
            return
        try:
            call(*arguments, **keywords)
        except BaseException:
            self._is_broken = True
            raise

    def close(self) -> None:
        """Drops what has not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)
