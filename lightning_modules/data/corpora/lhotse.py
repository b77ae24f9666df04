"""Lhotse's manifests: cut sets, and recordings with their supervisions, which its recipes make."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast, get_args

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard
from lightning_modules.data.manifest import Split
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
                yield from _of_cut(cut, source=path.name.split(".")[0])
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, AssertionError) as error:
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


def _of_cut(cut: Any, *, source: str) -> Iterator[Found | Skipped]:
    if not hasattr(cut, "recording"):
        yield Skipped(path=cut.id, reason=f"a {type(cut).__name__}, not a stretch of one recording")
        return
    if not cut.supervisions:
        yield Skipped(path=cut.id, reason="a cut without a supervision")
    for number, supervision in enumerate(cut.supervisions):
        name = cut.id if len(cut.supervisions) == 1 else f"{cut.id}-{number}"
        start_s = cut.start + max(0.0, supervision.start)
        end_s = cut.start + min(cut.duration, supervision.end)
        yield from found_of(cut.recording, supervision, name=name, source=source, start_s=start_s, end_s=end_s)


def found_of(
    recording: Any,
    supervision: Any,
    *,
    name: str,
    source: str,
    start_s: float,
    end_s: float,
    split: Split | None = None,
    knows_speakers: bool = True,
) -> Iterator[Found | Skipped]:
    """A stretch of one of Lhotse's recordings, or why it cannot be had."""
    (audio,) = recording.sources[:1] or (None,)
    if audio is None or audio.type != "file":
        yield Skipped(path=name, reason="its audio is not in a file")
        return
    if not supervision.language:
        yield Skipped(path=name, reason="no language in its supervision")
        return
    channels = audio.channels
    yield Found(
        id=name,
        file=Path(audio.source),
        language=supervision.language,
        source=source,
        speaker=str(supervision.speaker) if supervision.speaker and knows_speakers else name,
        recording=recording.id,
        split=split,
        start_s=start_s,
        end_s=end_s,
        channel=int(supervision.channel) if len(channels) > 1 and isinstance(supervision.channel, int) else None,
    )


def by_recipe(manifests: Any, *, source: str, knows_speakers: bool) -> Iterator[Found | Skipped]:
    """What one of Lhotse's recipes found.

    Args:
        manifests: language -> split -> `recordings` and `supervisions`.
        source: of all of it, a language each.
        knows_speakers: whether the recipe's speakers are people.
    """
    for language in sorted(manifests):
        for split in get_args(Split):
            sets = manifests[language].get(split)
            if sets is None:
                continue
            recordings = {recording.id: recording for recording in sets["recordings"]}
            for supervision in sets["supervisions"]:
                recording = recordings[supervision.recording_id]
                yield from found_of(
                    recording,
                    supervision,
                    name=f"{language}/{split}/{supervision.id}",
                    source=source,
                    start_s=supervision.start,
                    end_s=supervision.end,
                    split=cast("Split", split),
                    knows_speakers=knows_speakers,
                )


@contextlib.contextmanager
def in_silence() -> Iterator[None]:
    """Without the bars and lines of Lhotse's recipes: a prepare has a bar of its own."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield
