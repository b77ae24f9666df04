"""A table of recordings, CSV or TSV: for whatever has no layout of its own."""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast, get_args

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora._layout import Found, Layout, LayoutCard
from lightning_modules.data.manifest import Split
from lightning_modules.errors import CorpusError

_NEEDED: Final = ("path", "language")
_KNOWN: Final = (*_NEEDED, "id", "source", "speaker", "recording", "split", "start_s", "end_s", "channel")


class Table(Layout):
    """A row a recording, or a row a stretch of one."""

    card = LayoutCard(
        kind="table",
        title="A table of recordings (CSV or TSV)",
        layout=(
            "columns path (relative to the table) and language; if there are any: id, source, speaker, recording, "
            "split, start_s, end_s, channel (from 0)"
        ),
        speakers="column speaker; without one, each recording is a speaker of its own",
        has_splits=True,
    )

    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """Rows in their order; one that makes no sense is skipped with its reason."""
        line = 1
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
                _check_columns(path, rows.fieldnames or ())
                for number, row in enumerate(rows, start=2):
                    line = rows.line_num
                    yield _found(row, table=path, number=number)
        except (UnicodeDecodeError, csv.Error) as error:
            raise CorpusError(f"{path} is no table that can be read after its line {line}: {error}.") from None
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read: {error.strerror}.") from None


def _check_columns(path: Path, columns: object) -> None:
    names = list(cast("list[str]", columns))
    missing = [name for name in _NEEDED if name not in names]
    unknown = [name for name in names if name not in _KNOWN]
    if missing or unknown:
        complaint = f"has no column {missing[0]!r}" if missing else f"has a column {unknown[0]!r}"
        if ";" in "".join(names):
            complaint += " (its columns are separated by semicolons, not by commas)"
        raise CorpusError(f"{path} {complaint}; columns that count: {', '.join(_KNOWN)}.")


def _found(row: Mapping[str, str | None], *, table: Path, number: int) -> Found | Skipped:
    filled = {name: value.strip() for name, value in row.items() if name in _KNOWN and value and value.strip()}
    place = f"{table.name}, line {number}"
    if missing := [name for name in _NEEDED if name not in filled]:
        return Skipped(path=place, reason=f"no {missing[0]}")
    split = filled.get("split")
    if split is not None and split not in get_args(Split):
        return Skipped(path=place, reason=f"split {split!r} is none of {', '.join(get_args(Split))}")
    try:
        start_s = float(filled.get("start_s", 0.0))
        end_s = float(filled["end_s"]) if "end_s" in filled else None
        channel = int(filled["channel"]) if "channel" in filled else None
    except ValueError:
        return Skipped(path=place, reason="start_s, end_s or channel is no number")
    is_stretch = 0.0 <= start_s < (math.inf if end_s is None else end_s) and end_s != math.inf
    if not is_stretch or (channel or 0) < 0:
        return Skipped(path=place, reason="start_s, end_s or channel is out of range")
    parts = [part for part in Path(filled["path"]).with_suffix("").parts if part not in ("/", "..")]
    recording = filled.get("recording", "/".join(parts))
    is_cut = "start_s" in filled or "end_s" in filled or "channel" in filled
    return Found(
        id=filled.get("id", f"{recording}@{number}" if is_cut else recording),
        file=table.parent / filled["path"],
        language=filled["language"],
        source=filled.get("source", ""),
        speaker=filled.get("speaker", recording),
        recording=recording,
        split=cast("Split | None", split),
        start_s=start_s,
        end_s=end_s,
        channel=channel,
    )
