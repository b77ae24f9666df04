"""What tests of users' corpora share."""

from collections.abc import Callable
from pathlib import Path

from lightning_modules.data.prepared import PreparedCorpus

Write = Callable[..., Path]
"""Writes the next few seconds of speech into a file: its suffix is its codec."""
Prepare = Callable[..., PreparedCorpus]
"""Prepares a corpus of a layout and a path."""

INSISTS = 'allow_shared = ["source"]'
BY_SPEAKER = 'kind = "speakers"'


def rows(corpus: PreparedCorpus) -> set[tuple[str, str, str, str]]:
    return {(each.split, each.language, each.source, each.speaker) for each in corpus.recordings}


def seconds_of(corpus: PreparedCorpus) -> list[float]:
    return [recording.duration_s for recording in corpus.recordings]
