"""Which code ran: commit, and a hash of what is not committed."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import study
from reports.records import TAG_COMMIT, TAG_DATA, TAG_DIFF, TAG_VERSIONS

TIMEOUT_S = 10


DECIDING_LIBRARIES = ("lidstudy", "torch", "torchaudio", "pytorch-lightning", "optuna", "mlflow", "numpy")


def versions() -> dict[str, str]:
    """Python, lidstudy and the libraries that decide results."""
    return {"python": sys.version.split()[0], **{name: version(name) for name in DECIDING_LIBRARIES}}


def run_tags(data_hash: str) -> dict[str, str]:
    """What every run is tagged with: code, library versions, data."""
    return code_tags() | {TAG_VERSIONS: json.dumps(versions()), TAG_DATA: data_hash}


def code_tags() -> dict[str, str]:
    """Tags that name the code; empty where it does not lie in a git checkout."""
    folder = Path(study.__file__).parents[1]
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    change = _git(folder, "diff", "HEAD") + _untracked(folder)
    return {TAG_COMMIT: commit} | ({TAG_DIFF: hashlib.sha256(change.encode()).hexdigest()[:12]} if change else {})


def _untracked(folder: Path) -> str:
    """Names and hashes of modules that git does not know yet."""
    names = _git(folder, "ls-files", "--others", "--exclude-standard", "--", "*.py").splitlines()
    return "".join(f"{name} {hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n" for name in names)


def _git(folder: Path, *arguments: str) -> str:
    """What git says, or nothing where there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
