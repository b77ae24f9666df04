"""Broken lists never crash a reader: it yields what it can, or says in one line what is wrong."""

import contextlib
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_modules.data.cards import Skipped
from lightning_modules.data.corpora import LAYOUTS
from lightning_modules.data.corpora._layout import Found
from lightning_modules.errors import CorpusError

CUT = {
    "id": "cut-1",
    "start": 0.0,
    "duration": 1.0,
    "channel": 0,
    "supervisions": [
        {"id": "s", "recording_id": "r", "start": 0.0, "duration": 1.0, "channel": 0, "language": "en", "speaker": "a"}
    ],
    "recording": {
        "id": "r",
        "sources": [{"type": "file", "channels": [0], "source": "a.flac"}],
        "sampling_rate": 8000,
        "num_samples": 8000,
        "duration": 1.0,
    },
    "type": "MonoCut",
}
VALID = {
    "table": {
        "list.csv": "path,language,speaker,split,start_s,end_s,channel\na.wav,en,ann,train,0,1,0\nb.wav,fr,bob,dev,,,\n"
    },
    "kaldi": {
        "wav.scp": "r1 sph2pipe -f wav -p -c 1 a.sph |\nr2 b.wav\n",
        "segments": "u1 r1 0.0 1.0\nu2 r2 1.0 2.5\n",
        "utt2spk": "u1 ann\nu2 bob\n",
        "utt2lang": "u1 en\nu2 fr\n",
    },
    "lre17": {
        "docs/filename_language_key.tab": "a.sph ara-acm\nb.sph zho-nan\n",
        "docs/lre17_dev_segments.key": "segmentid language_code data_source speech_duration\nc.sph ara-acm mls14 3\n",
        "docs/lre17_dev_eval_sessionids.tsv": "segmentid\tsessionid\nc.sph\tcall1\n",
    },
    "common_voice": {
        f"cy/{split}.tsv": f"client_id\tpath\tsentence\nann\t{split}-1.mp3\tSo\nbob\t{split}-2.mp3\t'Na\n"
        for split in ("train", "dev", "test")
    },
    "fleurs": {
        f"metadata/cy_gb/{split}.tsv": f"7\t{split}.wav\tHelo.\thelo\th e l o |\t8000\tFEMALE\n"
        for split in ("train", "test")
    },
    "lhotse": {"cuts.jsonl": f"{json.dumps(CUT)}\n{json.dumps(CUT)}\n"},
}
PLACES = {"table": "list.csv", "lhotse": "cuts.jsonl"}
"""What is read is a file; of the others, a folder."""

ROOTS = ("", "train/cy", "dev/cy", "English/train", "cy")


@st.composite
def damaged(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Replaces, removes or repeats a stretch of a file."""
    start, length = draw(st.floats(0, 1)), draw(st.integers(0, 30))
    other = draw(st.one_of(st.binary(max_size=8), st.text(max_size=8).map(lambda text: text.encode("utf-8", "ignore"))))
    times = draw(st.integers(0, 3))

    def damage(content: bytes) -> bytes:
        place = round(start * len(content))
        return content[:place] + other + content[place : place + length] * times + content[place + length :]

    return damage


@pytest.mark.parametrize("kind", list(VALID))
@given(damages=st.lists(damaged(), min_size=1, max_size=3), which=st.integers(0, 3))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_told_in_one_line_or_passed_over(
    kind: str, damages: list[Callable[[bytes], bytes]], which: int, tmp_path: Path
) -> None:
    for number, (name, text) in enumerate(VALID[kind].items()):
        content = text.encode()
        if number == which % len(VALID[kind]):
            for damage in damages:
                content = damage(content)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found: list[Found | Skipped] = []
    with contextlib.suppress(CorpusError):
        found = list(LAYOUTS[kind].read(tmp_path / PLACES.get(kind, ".")))
    for each in found:
        assert isinstance(each, Found | Skipped)
        if isinstance(each, Found):
            assert each.start_s >= 0.0
            assert each.end_s is None or each.start_s < each.end_s < math.inf
            assert each.channel is None or each.channel >= 0


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize("kind", ["folders", "voxlingua107", "common_language"])
@given(paths=st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=5), below=st.sampled_from(ROOTS))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_layouts_that_are_folders_alone_take_any_names(
    kind: str, paths: list[list[str]], below: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("names")
    for path in paths:
        file = root.joinpath(below, *(name for name in path if name not in (".", ".."))).with_suffix(".wav")
        with contextlib.suppress(OSError, ValueError):  # a file where another path wants a folder, or no name at all
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    found: list[Found | Skipped] = []
    with contextlib.suppress(CorpusError):
        found = list(LAYOUTS[kind].read(root))
    assert all(isinstance(each, Found | Skipped) for each in found)
    assert len({each.id for each in found if isinstance(each, Found)}) == sum(isinstance(e, Found) for e in found)


@given(content=st.binary(max_size=200))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cuts_that_are_no_gzip_are_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress(content)[: len(content)])
    with pytest.raises(CorpusError, match="no file of cuts"):
        list(LAYOUTS["lhotse"].read(path))


@pytest.mark.parametrize("place", range(12, 60, 6))
def test_cuts_whose_gzip_is_damaged_are_told(place: int, tmp_path: Path) -> None:
    path = tmp_path / "cuts.jsonl.gz"
    content = bytearray(gzip.compress(bytes(range(256)) * 8))
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="no file of cuts"):
        list(LAYOUTS["lhotse"].read(path))


def test_a_field_that_is_too_long_for_a_table_is_told(tmp_path: Path) -> None:
    for name in ("dev", "test"):
        (tmp_path / "en" / "clips").mkdir(parents=True, exist_ok=True)
        (tmp_path / "en" / f"{name}.tsv").write_text("client_id\tpath\n")
    (tmp_path / "en" / "train.tsv").write_text(f"client_id\tpath\nann\t{'x' * 140_000}\n")
    with pytest.raises(CorpusError, match=r"train\.tsv, line 1 cannot be read: field larger"):
        list(LAYOUTS["common_voice"].read(tmp_path))
