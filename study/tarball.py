"""A .tar.gz with a table of its contents, written beside its place, read back, and only then renamed into it.

Members are plain files and folders under relative paths, so unpacking one never leaves the folder it is unpacked into:
links are packed as what they lead to.
"""

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from lightning_modules.errors import StorageError

CHUNK_BYTES: Final = 1024 * 1024
COMPRESSION: Final = 6


class Packer:
    """Adds members to an archive and keeps the hash of each."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.hashes: dict[str, str] = {}

    def add(self, name: str, content: Path | bytes) -> None:
        """A file."""
        if isinstance(content, bytes):
            info = _info(name, size=len(content), modified_s=time.time())
            self._write(info, io.BytesIO(content))
            return
        with content.open("rb") as file:
            facts = os.fstat(file.fileno())
            self._write(_info(name, size=facts.st_size, modified_s=facts.st_mtime), file)

    def add_tree(self, name: str, folder: Path, *, skip: Callable[[Path], bool]) -> None:
        """All files below a folder, and its folders, also empty ones.

        Raises:
            StorageError: a folder in it is a link, which may lead anywhere, or to itself.
        """
        for place, folders, files in os.walk(folder):
            inside = str(PurePosixPath(name, *Path(place).relative_to(folder).parts))
            self._tar.addfile(_info(inside, size=0, modified_s=Path(place).stat().st_mtime, kind=tarfile.DIRTYPE))
            for each in sorted(folders):
                if (Path(place) / each).is_symlink():
                    raise StorageError(f"{Path(place) / each} is a link to a folder, which is not packed; remove it.")
            folders.sort()
            for each in sorted(files):
                path = Path(place) / each
                if path.is_file() and not skip(path):
                    self.add(f"{inside}/{each}", path)

    def _write(self, info: tarfile.TarInfo, file: IO[bytes]) -> None:
        hashing = _Hashing(file)
        self._tar.addfile(info, hashing)
        self.hashes[info.name] = hashing.hash.hexdigest()


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


@contextmanager
def new_archive(out: Path, *, contents: str, facts: dict[str, Any]) -> Iterator[Packer]:
    """A new archive, there once it has been read back.

    Args:
        out: its path, which must be free.
        contents: name of the member, packed last, that lists all others with their hashes.
        facts: what that member says beside.

    Raises:
        StorageError: the path is taken, or what was written does not read back.
    """
    if out.exists():
        raise StorageError(f"{out} exists; choose another --out, or remove it.")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=COMPRESSION) as tar:
                packer = Packer(tar)
                yield packer
                listed = {**facts, "files": dict(packer.hashes)}
                packer.add(contents, json.dumps(listed, indent=1, ensure_ascii=False).encode())
            file.flush()
            os.fsync(file.fileno())
        check_archive(temporary, packer.hashes)
        temporary.replace(out)
        _sync(out.parent)
    finally:
        temporary.unlink(missing_ok=True)


def check_archive(path: Path, hashes: dict[str, str]) -> None:
    """Reads an archive back.

    Args:
        path: the archive.
        hashes: SHA-256 of each file that it must hold, and it must hold no other.

    Raises:
        StorageError: it holds anything else, or cannot be read.
    """
    found: dict[str, str] = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                check_name(member.name)
                file = tar.extractfile(member)
                if file is not None:
                    found[member.name] = _sha256(file)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise StorageError(f"{path} does not read back as it was written: {error}") from None
    if found != hashes:
        wrong = sorted(name for name in found.keys() | hashes.keys() if found.get(name) != hashes.get(name))
        raise StorageError(f"{path} does not read back as it was written: {wrong[0]} differs.")


def check_name(name: str) -> str:
    """The name, if unpacking it stays inside the folder that it is unpacked into; StorageError if not."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise StorageError(f"{name!r} leads out of the archive, so it is not packed.")
    return name


def _info(name: str, *, size: int, modified_s: float, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(check_name(name))
    info.type, info.size, info.mtime = kind, size, modified_s
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info


def _sha256(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    while data := file.read(CHUNK_BYTES):
        found.update(data)
    return found.hexdigest()


def _sync(folder: Path) -> None:
    """A rename is on disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
