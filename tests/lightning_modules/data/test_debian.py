"""Packages, with a stand-in for apt-get that answers as the real one does."""

import hashlib
import os
from pathlib import Path

import pytest

from lightning_modules.data import debian
from lightning_modules.data.cards import Progress
from lightning_modules.data.debian import DebianPackage, apt_available, fetch_packages, unpack
from lightning_modules.errors import CorpusError

CONTENT = b"a package"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PACKAGE = DebianPackage(name="some-sounds", version="1:2.0-1", sha256=SHA256, size_bytes=len(CONTENT))

APT = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
    *update*) touch {fresh}; exit 0 ;;
esac
if [ -e {needs_update} ] && ! [ -e {fresh} ]; then echo "E: Unable to locate package some-sounds" >&2; exit 100; fi
if [ -e {broken} ]; then echo "W: noise"; echo "E: Failed to fetch, no network"; echo "trailing noise"; exit 100; fi
case "$*" in
    *--print-uris*)
        echo "Reading package lists..."
        [ -e {offer} ] || echo "'http://nowhere/x.deb' {offer} 9 SHA256:{sha256}" ;;
    *) printf '%s' '{content}' > {offer} ;;
esac
"""


class FakeApt:
    """An apt-get on PATH; files beside it switch its behaviour."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.offers()

    def offers(self, *, version: str = "1%3a2.0-1", sha256: str = SHA256, content: str = CONTENT.decode()) -> None:
        names = {name: self.folder / name for name in ("log", "fresh", "needs_update", "broken")}
        script = APT.format(offer=f"some-sounds_{version}_all.deb", sha256=sha256, content=content, **names)
        (self.folder / "apt-get").write_text(script)
        (self.folder / "apt-get").chmod(0o755)

    def switch(self, name: str) -> None:
        (self.folder / name).touch()

    @property
    def calls(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(debian, "_POLL_S", 0.01)
    monkeypatch.setattr(debian, "apt_available", lambda: True)
    return FakeApt(folder)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


def test_a_missing_package_is_downloaded(apt: FakeApt, downloads: Path, quiet: Progress) -> None:
    (fetched,) = fetch_packages([PACKAGE], downloads=downloads, progress=quiet)
    assert fetched.file == downloads / "some-sounds_1%3a2.0-1_all.deb"
    assert fetched.file.read_bytes() == CONTENT
    assert fetched.version == "1:2.0-1"
    assert apt.calls[-1].endswith("download some-sounds=1:2.0-1")


def test_a_package_that_is_there_needs_no_apt(apt: FakeApt, downloads: Path, quiet: Progress) -> None:
    (downloads / PACKAGE.file_name).write_bytes(CONTENT)
    fetch_packages([PACKAGE], downloads=downloads, progress=quiet)
    assert apt.calls == []


@pytest.mark.parametrize("left", [b"a pac", b"A PACKAGE"])
def test_a_partial_or_damaged_file_is_fetched_again(
    apt: FakeApt, downloads: Path, quiet: Progress, left: bytes
) -> None:
    (downloads / PACKAGE.file_name).write_bytes(left)
    (downloads / "partial").mkdir()
    (downloads / "partial" / PACKAGE.file_name).write_bytes(left)
    (fetched,) = fetch_packages([PACKAGE], downloads=downloads, progress=quiet)
    assert fetched.file.read_bytes() == CONTENT


def test_without_package_lists_our_own_are_read(apt: FakeApt, downloads: Path, quiet: Progress) -> None:
    apt.switch("needs_update")
    (fetched,) = fetch_packages([PACKAGE], downloads=downloads, progress=quiet)
    assert fetched.file.read_bytes() == CONTENT
    assert f"Dir::State={downloads / 'apt' / 'state'}" in apt.calls[-1]


def test_another_version_is_taken_and_named(apt: FakeApt, downloads: Path, quiet: Progress) -> None:
    other = "another package"
    apt.offers(version="1%3a3.0-1", sha256=hashlib.sha256(other.encode()).hexdigest(), content=other)
    (fetched,) = fetch_packages([PACKAGE], downloads=downloads, progress=quiet)
    assert fetched.version == "1:3.0-1"
    assert fetched.file.read_text() == other


def test_the_same_version_with_another_checksum_is_refused(apt: FakeApt, downloads: Path, quiet: Progress) -> None:
    apt.offers(sha256="0" * 64)
    with pytest.raises(CorpusError, match="the same version must have the same content"):
        fetch_packages([PACKAGE], downloads=downloads, progress=quiet)


def test_a_download_that_arrives_damaged_is_not_kept(apt: FakeApt, downloads: Path, quiet: Progress) -> None:
    apt.offers(content="b package")
    with pytest.raises(CorpusError, match="arrived damaged"):
        fetch_packages([PACKAGE], downloads=downloads, progress=quiet)
    assert not list(downloads.rglob("*.deb"))


def test_a_failure_says_what_apt_said_and_what_to_do(apt: FakeApt, downloads: Path, quiet: Progress) -> None:
    apt.switch("broken")
    with pytest.raises(
        CorpusError, match=r"could not fetch some-sounds: E: Failed to fetch, no network .*run the same"
    ):
        fetch_packages([PACKAGE], downloads=downloads, progress=quiet)


def test_progress_counts_bytes(apt: FakeApt, downloads: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    fetch_packages([PACKAGE], downloads=downloads, progress=lambda *report: reports.append(report))
    assert reports[-1] == ("downloading packages (bytes)", 9, 9)


def test_without_apt_the_other_corpus_is_named(
    downloads: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not apt_available()
    with pytest.raises(CorpusError, match="corpus 'espeak'"):
        fetch_packages([PACKAGE], downloads=downloads, progress=quiet)


def test_unpacking_without_dpkg_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CorpusError, match="dpkg-deb is needed"):
        unpack(tmp_path / "x.deb", tmp_path)


@pytest.mark.skipif(not apt_available(), reason="no dpkg-deb on this machine")
def test_unpacking_what_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"no package")
    with pytest.raises(CorpusError, match=r"x\.deb cannot be unpacked .*remove it and try again"):
        unpack(tmp_path / "x.deb", tmp_path / "out")
