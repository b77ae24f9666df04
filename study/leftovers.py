"""What a workspace no longer needs beside its studies: packages, old features, and folders of killed processes.

Locks tell a folder that is being made from one whose maker was killed. They are taken before anything is looked at and
held until it is removed.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lightning_modules.data.corpora import CORPORA
from lightning_modules.data.prepared import corpus_folder
from study.workspace import Workspace, try_lock

REMOVED = ".removed-"
"""Prefix of a study's folder that was archived, while it is being removed."""


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One file or folder that may go; `what` says of which kind, in the plural."""

    what: str
    path: Path
    num_bytes: int


class HeldLocks:
    """Locks that were free, held until this ends; `notes` names those that were not."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._held: dict[Path, bool] = {}
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, path: Path, *, what: str) -> bool:
        """Whether a lock is ours now; a lock whose folder does not exist is nobody's."""
        if path not in self._held:
            self._held[path] = self._take(path)
            if not self._held[path]:
                self.notes.append(f"{what} is left alone: a process is at work on it")
        return self._held[path]

    def _take(self, path: Path) -> bool:
        if not path.parent.is_dir():
            return True
        file = self._stack.enter_context(path.open("a"))
        return try_lock(file.fileno())


def workspace_leftovers(workspace: Workspace, *, locks: HeldLocks, busy: set[str]) -> Iterator[Leftover]:
    """What is not needed beside the studies.

    Args:
        workspace: the workspace.
        locks: takes and keeps the locks of what is found.
        busy: hashes of data whose features a study that is at work may read.
    """
    yield from _removed_studies(workspace.root)
    for name in ("corpora", "features"):
        if _is_own(workspace.root / name, locks):
            yield from _partial(workspace.root / name, locks=locks)
    if _is_own(workspace.root / "corpora", locks):
        if _is_own(workspace.root / "features", locks):
            yield from _old_features(workspace.root, locks=locks, busy=busy)
        if _is_own(workspace.root / "downloads", locks):
            yield from _packages(workspace.root, locks=locks)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


def _is_own(folder: Path, locks: HeldLocks) -> bool:
    """Whether a folder is this workspace's: one that is linked in may serve others, and none says so."""
    note = f"{folder} is left alone: it is a link, and other workspaces may use what it holds"
    if folder.is_symlink() and note not in locks.notes:
        locks.notes.append(note)
    return folder.is_dir() and not folder.is_symlink()


def _removed_studies(root: Path) -> Iterator[Leftover]:
    for folder in sorted(root.glob(f"{REMOVED}*")):
        lease = folder / "coordinator.lock"
        if lease.exists():
            with lease.open() as file:
                if not try_lock(file.fileno(), shared=True):
                    continue
        yield Leftover(what="archived studies whose removal was cut off", path=folder, num_bytes=size_of(folder))


def _partial(folder: Path, *, locks: HeldLocks) -> Iterator[Leftover]:
    for path in sorted(folder.glob(".*.partial")):
        name = path.name.removesuffix(".partial")
        if locks.take(folder / f"{name}.lock", what=f"{folder.name}/{name.removeprefix('.')}"):
            yield Leftover(what="folders of preparations that were killed", path=path, num_bytes=size_of(path))


def _old_features(root: Path, *, locks: HeldLocks, busy: set[str]) -> Iterator[Leftover]:
    for store in sorted((root / "features").glob("[!.]*-*-*")):
        corpus, data_hash, _ = store.name.rsplit("-", 2)
        if store.is_symlink() or data_hash in busy or _may_serve(root, corpus, data_hash):
            continue
        if locks.take(_corpus_lock(root, corpus), what=f"corpora/{corpus}") and locks.take(
            store.parent / f".{store.name}.lock", what=f"features/{store.name}"
        ):
            yield Leftover(what="features of no prepared corpus", path=store, num_bytes=size_of(store))


def _may_serve(root: Path, corpus: str, data_hash: str) -> bool:
    """Whether features are those of a prepared corpus, or of one of which nothing can be said now."""
    folder = corpus_folder(corpus, root)
    facts = _facts(folder)
    if facts is None:
        return folder.is_symlink() or (folder / "corpus.json").exists()
    return bool(facts["data_hash"] == data_hash)


def _packages(root: Path, *, locks: HeldLocks) -> Iterator[Leftover]:
    """Packages by the names that the corpora made of them tell; apt's own files once no corpus is under way."""
    needed = [name for name, corpus in CORPORA.items() if corpus.card.download_bytes]
    is_under_way = any((root / "corpora" / f".{corpus}.partial").exists() for corpus in needed)
    has_some = False
    for corpus in needed:
        facts = _facts(corpus_folder(corpus, root))
        if facts is None or not locks.take(_corpus_lock(root, corpus), what=f"corpora/{corpus}"):
            continue
        has_some = True
        for package in facts["versions"]:
            for place in (root / "downloads", root / "downloads" / "partial"):
                for file in sorted(place.glob(f"{package}_*.deb")):
                    yield Leftover(what="packages of prepared corpora", path=file, num_bytes=size_of(file))
    if has_some and not is_under_way and (root / "downloads" / "apt").is_dir():
        apt = root / "downloads" / "apt"
        yield Leftover(what="package lists that were fetched for them", path=apt, num_bytes=size_of(apt))


def _facts(corpus: Path) -> dict[str, Any] | None:
    """What a prepared corpus says of itself; None if it is not prepared or damaged."""
    try:
        facts: dict[str, Any] = json.loads((corpus / "corpus.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if {"data_hash", "versions"} <= facts.keys() else None


def _corpus_lock(root: Path, corpus: str) -> Path:
    return root / "corpora" / f".{corpus}.lock"
