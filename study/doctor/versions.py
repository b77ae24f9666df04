"""Versions: of what lidstudy needs, of what its tests ran with, and of its extras."""

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import study
from lightning_modules.data.debian import apt_available
from study.doctor._base import Finding

CHECKOUT: Final = Path(study.__file__).parents[1]
PURPOSES: Final = {
    "cma": "sampler cma_es",
    "corpora": "corpora that Lhotse reads (Common Voice, FLEURS, cut sets), and Silero's speech detection",
    "postgres": "Optuna's trials and MLflow's records in PostgreSQL",
    "ray": "trials on a Ray cluster",
    "slurm": "trials as Slurm jobs",
    "synth": "corpus espeak, which is synthetic speech",
}
"""What an extra is for; those that only developers need are not shown."""
MAX_NAMED: Final = 4


def look_at_versions(_: Path) -> list[Finding]:
    """Python, every dependency, and how far they differ from what the tests ran with."""
    base, _extras = requirements(CHECKOUT)
    python = Finding("python", sys.version.split()[0])
    return [python, *map(required, base), *compared(CHECKOUT / "constraints.txt")]


def look_at_extras(_: Path) -> list[Finding]:
    """Extras, and apt, which fetches corpus prompts."""
    _base, extras = requirements(CHECKOUT)
    findings = [optional(name, extras[name]) for name in sorted(extras.keys() & PURPOSES.keys())]
    return [*findings, Finding("apt-get", "found, so corpus prompts can be fetched" if apt_available() else NO_APT)]


NO_APT: Final = "not found: corpus prompts needs it; corpus espeak does not"


def requirements(checkout: Path) -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """What lidstudy needs, and each of its extras: from pyproject.toml in a checkout, else as it was installed."""
    try:
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except FileNotFoundError:
        return _installed_requirements()
    extras = {name: list(map(Requirement, texts)) for name, texts in project["optional-dependencies"].items()}
    return list(map(Requirement, project["dependencies"])), extras


def _installed_requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    base: list[Requirement] = []
    extras: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, requires("lidstudy") or []):
        marker = str(requirement.marker or "")
        if "extra ==" not in marker:
            base.append(requirement)
            continue
        extras.setdefault(marker.partition("extra ==")[2].strip(" \"'"), []).append(requirement)
    return base, extras


def required(requirement: Requirement) -> Finding:
    """A dependency that must be there, in a version that is allowed."""
    found = _version(requirement.name)
    mend = f"pip install '{requirement.name}{requirement.specifier}' -c constraints.txt"
    if found is None:
        return Finding(requirement.name, "missing", mend)
    if not requirement.specifier.contains(found, prereleases=True):
        return Finding(requirement.name, f"{found}, but {requirement.specifier} is needed", mend)
    return Finding(requirement.name, found)


def optional(name: str, needed: Iterable[Requirement]) -> Finding:
    """An extra: not needed, but if it is there it must be whole."""
    findings = [required(requirement) for requirement in needed]
    missing = [finding.name for finding in findings if finding.seen == "missing"]
    install = f"pip install 'lidstudy[{name}]' -c constraints.txt"
    if missing:
        return Finding(name, f"not installed; it is for {PURPOSES[name]}", hint=install)
    wrong = [f"{finding.name} {finding.seen}" for finding in findings if finding.mend]
    return Finding(name, "; ".join(wrong) or f"installed, for {PURPOSES[name]}", install if wrong else "")


def compared(constraints: Path) -> list[Finding]:
    """How what is installed differs from what the tests ran with; none where that is not on record."""
    if not constraints.is_file():
        return []
    lines = [line.strip() for line in constraints.read_text(encoding="utf-8").splitlines()]
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    found = {canonicalize_name(name): _version(name) for name in pinned}
    differing = [
        f"{name} {found[canonicalize_name(name)]}, not {wanted}"
        for name, wanted in pinned.items()
        if found[canonicalize_name(name)] not in (None, wanted)
    ]
    if not differing:
        return [Finding("constraints", "installed packages have the versions that the tests ran with")]
    more = f" and {len(differing) - MAX_NAMED} more" if len(differing) > MAX_NAMED else ""
    seen = f"other versions than the tests ran with: {', '.join(differing[:MAX_NAMED])}{more}"
    return [Finding("constraints", seen, hint="pip install -e . -c constraints.txt")]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
