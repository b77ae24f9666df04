"""A folder a language: the layout of whoever sorts files by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard, audio_files, other_files
from lightning_modules.data.manifest import Split
from lightning_modules.errors import CorpusError

_SPEAKER_LEVEL: Final = 3  # language / speaker / … / file


class Folders(Layout):
    """`<language>/**/<file>`, or `<train|dev|test>/<language>/**/<file>`."""

    card = LayoutCard(
        kind="folders",
        title="A folder a language",
        layout="<language>/<speaker>/…/<file>, or <language>/<file>; below train, dev and test where there are splits",
        speakers="the folder in a language's folder; a file that lies in none is a speaker of its own",
        has_splits=True,
    )

    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """Languages are the names of folders."""
        parts: list[Split] = [part for part in get_args(Split) if (path / part).is_dir()]
        roots: list[tuple[Path, Split | None]] = [(path / part, part) for part in parts] or [(path, None)]
        files = [(file, root, split) for root, split in roots for file in audio_files(root)]
        if not files:
            raise CorpusError(f"{path} holds no audio in folders named by their language.")
        yield from other_files(path)
        for file in audio_files(path) if parts else ():
            if file.relative_to(path).parts[0] not in parts:
                yield Skipped(path=file.relative_to(path).as_posix(), reason=f"in none of {', '.join(parts)}")
        for file, root, split in files:
            name = file.relative_to(path).with_suffix("").as_posix()
            parts_of = file.relative_to(root).parts
            if len(parts_of) == 1:
                yield Skipped(path=name, reason="in no language's folder")
                continue
            language = parts_of[0]
            has_speaker = len(parts_of) >= _SPEAKER_LEVEL
            yield Found(
                id=name,
                file=file,
                language=language,
                speaker=f"{language}/{parts_of[1]}" if has_speaker else name,
                recording=name,
                split=split,
            )
