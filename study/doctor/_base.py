"""One finding of the doctor, and what makes findings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GB = 1e9


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was seen, and what to do.

    Attributes:
        name: what was looked at.
        seen: what was seen.
        mend: what to do where something is wrong, else "".
        hint: what may be done, though nothing is wrong.
    """

    name: str
    seen: str
    mend: str = ""
    hint: str = ""


Look = Callable[[Path], list[Finding]]
"""Takes the workspace's folder, which need not exist."""
