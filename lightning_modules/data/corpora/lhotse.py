"""Lhotse's cut sets."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard
from lightning_modules.errors import CorpusError

NEEDS: Final = "needs Lhotse: run `pip install 'lidstudy[corpora]'`"


class LhotseCuts(Layout):
    """A file of cuts."""

    card = LayoutCard(
        kind="lhotse",
        title="Lhotse cut set",
        layout="a file of cuts (.jsonl.gz, .jsonl), or one for each split; audio in files",
        speakers="of the supervisions; a cut without one is a speaker of its own",
        has_splits=False,
        url="https://lhotse.readthedocs.io",
    )

    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """A stretch for each supervision of each cut, in their order."""
        if not path.is_file():
            raise CorpusError(f"{path} is no file of cuts.")
        lhotse = import_lhotse("lhotse")
        try:
            for cut in lhotse.load_manifest_lazy(path):
                yield from _of_cut(cut)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            EOFError,
            OSError,
            AssertionError,
            zlib.error,
        ) as error:
            raise CorpusError(f"{path} is no file of cuts that Lhotse can read: {error}.") from None


def import_lhotse(module: str) -> Any:
    """A module of Lhotse.

    Raises:
        CorpusError: Lhotse is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "lhotse":
            raise
        raise CorpusError(f"this corpus {NEEDS}.") from None


def _of_cut(cut: Any) -> Iterator[Found | Skipped]:
    if not hasattr(cut, "recording"):
        yield Skipped(path=cut.id, reason=f"a {type(cut).__name__}, not a stretch of one recording")
        return
    if not cut.supervisions:
        yield Skipped(path=cut.id, reason="a cut without a supervision")
    for number, supervision in enumerate(cut.supervisions):
        name = cut.id if len(cut.supervisions) == 1 else f"{cut.id}-{number}"
        start_s = cut.start + max(0.0, supervision.start)
        end_s = cut.start + min(cut.duration, supervision.end)
        yield _stretch(cut.recording, supervision, name=name, start_s=start_s, end_s=end_s)


def _stretch(recording: Any, supervision: Any, *, name: str, start_s: float, end_s: float) -> Found | Skipped:
    wanted = supervision.channel if isinstance(supervision.channel, int) else None
    audio = next((each for each in recording.sources if wanted is None or wanted in each.channels), None)
    if audio is None or audio.type != "file":
        return Skipped(path=name, reason="its audio is not in a file")
    if recording.transforms:
        return Skipped(path=name, reason="its recording is changed as it is read; write it to a file first")
    if not supervision.language:
        return Skipped(path=name, reason="no language in its supervision")
    return Found(
        id=name,
        file=Path(audio.source),
        language=supervision.language,
        speaker=str(supervision.speaker) if supervision.speaker else name,
        recording=recording.id,
        start_s=start_s,
        end_s=end_s,
        channel=audio.channels.index(wanted) if len(audio.channels) > 1 and wanted is not None else None,
    )
