"""Debian packages as a source of data, fetched by apt without root and without installing anything.

apt checks signatures; on top of that a package whose version is pinned must have the pinned checksum.
"""

import errno
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lightning_modules.data.cards import Progress
from lightning_modules.errors import CorpusError

logger = logging.getLogger(__name__)

_OFFER: Final = re.compile(r"^'[^']*' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$", re.MULTILINE)
_POLL_S: Final = 0.2
_FULL_BYTES: Final = 1024 * 1024  # a disk with less is taken for full
_OPTIONS: Final = (
    "-o", "APT::Sandbox::User=root",  # a root user's apt would else complain that its helper user cannot write here
    "-o", "Acquire::Retries=2",
    "-o", "Acquire::http::Timeout=30",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DebianPackage:
    """A package at the version that was examined.

    Attributes:
        name: as apt knows it.
        version: with epoch and revision.
        sha256: of the .deb file.
        size_bytes: of the .deb file.
    """

    name: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        """What apt calls the file; all packages here are independent of the architecture."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_all.deb"


@dataclass(frozen=True, kw_only=True)
class FetchedPackage:
    """A package that is on this disk, whole."""

    name: str
    version: str
    file: Path


@dataclass(frozen=True, kw_only=True)
class _Offer:
    """What apt would download."""

    file_name: str
    sha256: str
    size_bytes: int

    @property
    def version(self) -> str:
        return self.file_name.split("_")[1].replace("%3a", ":")


class _AptError(Exception):
    """The last thing that apt said."""


def apt_available() -> bool:
    """Whether this machine has the programs that fetch and unpack Debian packages; says nothing about the network."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def fetch_packages(
    packages: Sequence[DebianPackage], *, downloads: Path, progress: Progress
) -> tuple[FetchedPackage, ...]:
    """Downloads what is not there yet; a pinned file with the right checksum is taken as it is.

    Raises:
        CorpusError: no apt, no network, or a package is not what was pinned.
    """
    there = {package.name: file for package in packages if _is_whole(file := downloads / package.file_name, package)}
    missing = [package for package in packages if package.name not in there]
    fetched = {name: _fetched(name, file) for name, file in there.items()}
    if missing:
        for package in missing:  # apt offers nothing where a file of that size is there, though it may be damaged
            (downloads / package.file_name).unlink(missing_ok=True)
        if not apt_available():
            raise CorpusError(
                "apt-get and dpkg-deb are needed to fetch this corpus and are not here; "
                "use a Debian or Ubuntu machine, or the corpus 'espeak'."
            )
        fetched |= _fetch(missing, downloads=downloads, progress=progress)
    return tuple(fetched[package.name] for package in packages)


def unpack(package: Path, folder: Path) -> None:
    """Unpacks a .deb file below a folder, without installing it.

    Raises:
        CorpusError: dpkg-deb is missing or cannot read the file.
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True, capture_output=True, text=True)  # noqa: S607
    except FileNotFoundError as error:
        raise CorpusError("dpkg-deb is needed to unpack this corpus and is not here.") from error
    except subprocess.CalledProcessError as error:
        if shutil.disk_usage(folder).free < _FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise CorpusError(
            f"{package} cannot be unpacked ({_last_line(error.stderr)}); remove it and try again."
        ) from error


def _fetch(packages: Sequence[DebianPackage], *, downloads: Path, progress: Progress) -> dict[str, FetchedPackage]:
    """With the system's package lists if they serve, else with lists of our own."""
    try:
        return _fetch_with(packages, (), downloads=downloads, progress=progress)
    except _AptError as first:
        logger.info("the system's package lists do not serve (%s); reading them afresh", first)
    try:
        progress("reading package lists", 0, 1)
        return _fetch_with(packages, _fresh_lists(downloads), downloads=downloads, progress=progress)
    except _AptError as error:
        raise CorpusError(
            f"apt could not fetch {', '.join(package.name for package in packages)}: {error} "
            "Check the network and /etc/apt/sources.list, then run the same command again; what is complete is kept."
        ) from error


def _fetch_with(
    packages: Sequence[DebianPackage], options: Sequence[str], *, downloads: Path, progress: Progress
) -> dict[str, FetchedPackage]:
    names = [package.name for package in packages]
    offers = _offers(_apt([*options, "download", "--print-uris", *names], folder=downloads))
    for package in packages:
        if package.name not in offers:
            raise _AptError(f"package {package.name} is not offered.")
        _check_offer(package, offers[package.name])
    missing = {
        name: offer for name, offer in offers.items() if not _has_hash(downloads / offer.file_name, offer.sha256)
    }
    if missing:
        _download(missing, options, downloads=downloads, progress=progress)
    return {name: _fetched(name, downloads / offer.file_name) for name, offer in offers.items()}


def _check_offer(package: DebianPackage, offer: _Offer) -> None:
    if offer.version != package.version:
        logger.warning("%s is offered as %s, examined was %s", package.name, offer.version, package.version)
    elif offer.sha256 != package.sha256:
        raise CorpusError(
            f"{offer.file_name} has the checksum {offer.sha256[:12]}… where {package.sha256[:12]}… is pinned: "
            "the same version must have the same content, so the package source cannot be trusted."
        )


def _download(offers: Mapping[str, _Offer], options: Sequence[str], *, downloads: Path, progress: Progress) -> None:
    """Into a folder of its own first, so that a file in `downloads` is always whole."""
    partial = downloads / "partial"
    partial.mkdir(parents=True, exist_ok=True)
    total = sum(offer.size_bytes for offer in offers.values())
    files = [partial / offer.file_name for offer in offers.values()]

    def report() -> None:
        progress("downloading packages (bytes)", sum(file.stat().st_size for file in files if file.exists()), total)

    _apt(
        [*options, "download", *(f"{name}={offer.version}" for name, offer in offers.items())],
        folder=partial,
        tick=report,
    )
    for offer, file in zip(offers.values(), files, strict=True):
        if not _has_hash(file, offer.sha256):
            file.unlink(missing_ok=True)
            raise _AptError(f"{offer.file_name} arrived damaged.")
        file.replace(downloads / offer.file_name)
    progress("downloading packages (bytes)", total, total)


def _fresh_lists(downloads: Path) -> tuple[str, ...]:
    """Options that give apt a state of its own, updated from the system's sources."""
    state, cache = downloads / "apt" / "state", downloads / "apt" / "cache"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = ("-o", f"Dir::State={state.absolute()}", "-o", f"Dir::Cache={cache.absolute()}")
    _apt([*options, "update"], folder=downloads)
    return options


def _apt(arguments: Sequence[str], *, folder: Path, tick: Callable[[], None] | None = None) -> str:
    """Runs apt-get in a folder, calling `tick` now and then; returns what it said.

    Raises:
        _AptError: it failed.
    """
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            ["apt-get", "-q", *_OPTIONS, *arguments],  # noqa: S607
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
        )
        try:
            _wait(process, tick=tick)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        text = said.read()
    if process.returncode != 0:
        raise _AptError(_last_line(text))
    return text


def _wait(process: subprocess.Popen[bytes], *, tick: Callable[[], None] | None) -> None:
    while True:
        try:
            process.wait(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if tick:
                tick()
        else:
            return


def _offers(text: str) -> dict[str, _Offer]:
    offers = [
        _Offer(file_name=match["file"], sha256=match["sha256"], size_bytes=int(match["size"]))
        for match in _OFFER.finditer(text)
    ]
    return {offer.file_name.split("_")[0]: offer for offer in offers}


def _fetched(name: str, file: Path) -> FetchedPackage:
    return FetchedPackage(name=name, version=file.name.split("_")[1].replace("%3a", ":"), file=file)


def _is_whole(file: Path, package: DebianPackage) -> bool:
    return file.exists() and file.stat().st_size == package.size_bytes and _has_hash(file, package.sha256)


def _has_hash(file: Path, sha256: str) -> bool:
    if not file.exists():
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == sha256


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return (errors or lines or ["no reason given"])[-1]
