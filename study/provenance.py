"""Which code ran: commit, and a hash of what is not committed."""

import hashlib
import subprocess
from pathlib import Path

import study
from reports.records import TAG_COMMIT, TAG_DIFF

TIMEOUT_S = 10


def code_tags() -> dict[str, str]:
    """Tags that name the code; empty where it does not lie in a git checkout."""
    folder = Path(study.__file__).parents[1]
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    change = _git(folder, "diff", "HEAD")
    return {TAG_COMMIT: commit} | ({TAG_DIFF: hashlib.sha256(change.encode()).hexdigest()[:12]} if change else {})


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
