"""VoxLingua107: speech from YouTube in 107 languages (Valk & Alumäe, SLT 2021)."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard, audio_files, other_files
from lightning_modules.errors import CorpusError

_NAME: Final = re.compile(r"(?P<video>.+)__U__S(?P<voice>\d+)---[\d.]+-[\d.]+")
_DEV: Final = "dev"


class VoxLingua107(Layout):
    """`<language>/<video>__U__S<voice>---<start>-<end>.wav`, and the same below `dev`."""

    card = LayoutCard(
        kind="voxlingua107",
        title="VoxLingua107",
        layout="<language>/<video>__U__S<voice>---<start>-<end>.wav; dev/<language>/…, checked by hand, is test",
        speakers="a video is a speaker and a recording: voices were told apart within a video only",
        has_splits=False,
        licence="CC-BY-4.0",
        url="https://bark.phon.ioc.ee/voxlingua107/",
    )

    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """Files of the development folder are test data; `splits` divides the others."""
        files = audio_files(path)
        if not files:
            raise CorpusError(f"{path} holds no audio in folders named by their language.")
        yield from other_files(path)
        for file in files:
            parts = file.relative_to(path).parts
            name = file.relative_to(path).with_suffix("").as_posix()
            is_checked = parts[0] == _DEV
            folders = parts[1:-1] if is_checked else parts[:-1]
            if not folders:
                yield Skipped(path=name, reason="in no language's folder")
                continue
            matched = _NAME.fullmatch(file.stem)
            video = f"{folders[0]}/{matched['video'] if matched else file.stem}"
            yield Found(
                id=name,
                file=file,
                language=folders[0],
                source="voxlingua107-dev" if is_checked else "voxlingua107",
                speaker=video,
                recording=video,
                split="test" if is_checked else None,
            )
