"""Users' corpora: small trees of the true layouts, in the true codecs, prepared from their files."""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from lightning_modules.data.audio import SAMPLE_RATE_HZ, to_telephone_band
from lightning_modules.data.cards import Progress
from lightning_modules.data.corpora import CORPORA, LAYOUTS
from lightning_modules.data.manifest import Recording
from lightning_modules.data.prepared import PreparedCorpus, prepare_corpus
from lightning_modules.data.splits import check_splits
from lightning_modules.errors import ConfigError, CorpusError
from study.corpus_file import load_corpus

Write = Callable[..., Path]
"""Writes the next few seconds of speech into a file: its suffix is its codec."""

SUBTYPES = {".opus": ("OGG", "OPUS"), ".sph": ("NIST", "ULAW"), ".mp3": ("MP3", "MPEG_LAYER_III")}
SECONDS = 1.6
INSISTS = 'allow_shared = ["source"]'
BY_SPEAKER = 'kind = "speakers"'
READER = '[reader]\nkind = "folders"\npath = "x"'


@pytest.fixture
def write(shared_speech: Path) -> Write:
    """Speech of corpus espeak, never the same twice."""
    files = cycle(sorted((shared_speech / "corpora" / "espeak" / "audio").rglob("*.flac")))

    def write_next(path: Path, *, rate_hz: int = 16000, channels: int = 1, seconds: float = SECONDS) -> Path:
        samples = np.zeros(0, np.float32)
        while len(samples) < seconds * SAMPLE_RATE_HZ:
            samples = np.concatenate([samples, soundfile.read(next(files), dtype="float32")[0]])
        samples = samples[: round(seconds * SAMPLE_RATE_HZ)]
        if rate_hz != SAMPLE_RATE_HZ:
            samples = np.repeat(samples, rate_hz // SAMPLE_RATE_HZ)  # steps, whose images lie above 4 kHz
        path.parent.mkdir(parents=True, exist_ok=True)
        file_format, subtype = SUBTYPES.get(path.suffix, (None, None))
        soundfile.write(path, np.stack([samples] * channels, axis=1), rate_hz, format=file_format, subtype=subtype)
        return path

    return write_next


@pytest.fixture
def prepare(tmp_path: Path, quiet: Progress) -> Callable[..., PreparedCorpus]:
    """Prepares a corpus of the file's text in a workspace."""

    def prepare_it(
        kind: str, path: str | dict[str, str], *, top: str = "", splits: str = "", name: str = "mine"
    ) -> PreparedCorpus:
        places = path if isinstance(path, dict) else {}
        table = "{ " + ", ".join(f'{split} = "{place}"' for split, place in places.items()) + " }"
        file = tmp_path / f"{name}.toml"
        file.write_text(
            f'name = "{name}"\n{top}\n[reader]\nkind = "{kind}"\npath = {table if places else json.dumps(path)}\n'
            + (f"[splits]\n{splits}\n" if splits else "")
        )
        corpus = prepare_corpus(load_corpus(str(file)), tmp_path / "workspace", progress=quiet)
        check_splits(corpus.recordings, allow_shared=corpus.allow_shared)
        return corpus

    return prepare_it


def rows(corpus: PreparedCorpus) -> set[tuple[str, str, str, str]]:
    return {(each.split, each.language, each.source, each.speaker) for each in corpus.recordings}


def seconds_of(corpus: PreparedCorpus) -> list[float]:
    return [recording.duration_s for recording in corpus.recordings]


def test_every_layout_is_here_and_says_what_it_is() -> None:
    tested = {name.removeprefix("test_layout_") for name in globals() if name.startswith("test_layout_")}
    assert tested == set(LAYOUTS)
    for kind, layout in LAYOUTS.items():
        assert layout.card.kind == kind
        assert type(layout).__module__.endswith(f".{kind}")
        assert layout.card.title
        assert len(layout.card.layout) > 40
        assert layout.card.speakers


# --- layouts ----------------------------------------------------------------------------------------------------------


def test_layout_folders(write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path) -> None:
    suffixes = cycle([".wav", ".flac", ".mp3", ".opus"])
    for language in ("en", "xx"):
        for speaker in range(5):
            for number in range(2):
                write(tmp_path / "voices" / language / f"s{speaker}" / f"{number}{next(suffixes)}")
    write(tmp_path / "voices" / "lost.wav")
    corpus = prepare("folders", "voices", top=INSISTS, splits=BY_SPEAKER)
    assert len(corpus.recordings) == 20
    assert {each.split for each in corpus.recordings if each.language == "xx"} == {"train", "dev", "test"}
    assert [(each.path, each.reason) for each in corpus.skipped] == [("lost", "in no language's folder")]
    assert any("share a source" in warning for warning in corpus.warnings)
    assert min(seconds_of(corpus)) > 1.0


def test_layout_table(write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / "audio" / f"{name}.flac", rate_hz=48000, channels=2)
    (tmp_path / "list.csv").write_text(
        "path,language,source,speaker,split,start_s,end_s,channel\n"
        "audio/a.flac,en,tv,ann,train,0.2,1.4,1\n"
        "audio/b.flac,en,radio,bob,dev,,,\n"
        "audio/c.flac,en,phone,cem,test,,1.2,0\n"
        "audio/c.flac,en,phone,cem,never,,,\n"
        "audio/c.flac,,phone,cem,test,,,\n"
        "audio/c.flac,en,phone,cem,test,2,1,\n"
        "audio/c.flac,en,phone,dan,test,0.1,1.5,7\n"
        "audio/gone.flac,en,phone,eva,test,,,\n"
    )
    corpus = prepare("table", "list.csv")
    assert rows(corpus) == {
        ("train", "en", "tv", "ann"),
        ("dev", "en", "radio", "bob"),
        ("test", "en", "phone", "cem"),
    }
    assert sorted(each.reason for each in corpus.skipped) == [
        "has 2 channels, not 8",
        "no language",
        "no such file",
        "split 'never' is none of train, dev, test",
        "start_s, end_s or channel is out of range",
    ]
    assert max(each.duration_s for each in corpus.recordings if each.split == "train") <= 1.2


def test_layout_voxlingua107(write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path) -> None:
    for language in ("ab", "war"):
        for video in ("kJ3_-9dQXyA", "__x", "c", "d"):
            for voice in (1, 2):
                name = f"{video}__U__S{voice}---0012.300-0015.900.wav"
                write(tmp_path / "voxlingua107" / language / name)
        write(tmp_path / "voxlingua107" / "dev" / language / f"z{language}__U__S7---0001.000-0003.000.wav")
    corpus = prepare("voxlingua107", "voxlingua107", top=INSISTS, splits=f"{BY_SPEAKER}\ntest = 0.01")
    of_video: dict[str, set[str]] = {}
    for each in corpus.recordings:
        of_video.setdefault(each.speaker, set()).add(each.split)
    assert len(of_video) == 10
    assert all(len(splits) == 1 for splits in of_video.values()), "a video's voices are not divided"
    assert of_video["war/zwar"] == {"test"}
    assert corpus.card.licences == ("CC-BY-4.0",)


def test_layout_common_language(write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path) -> None:
    root = tmp_path / "CommonLanguage" / "common_voice_kpd"
    for language in ("Welsh", "Chinese_Hongkong"):
        for split in ("train", "dev", "test"):
            write(root / language / split / f"{split}_client_{language}" / "common_voice_x_1.wav", rate_hz=48000)
        (root / language / "train.csv").write_text("client\tpath\n", encoding="utf-16")
    corpus = prepare("common_language", "CommonLanguage", top=INSISTS)
    assert {(each.language, each.split, each.speaker) for each in corpus.recordings} == {
        (code, split, f"{split}_client_{folder}")
        for folder, code in (("Welsh", "cy"), ("Chinese_Hongkong", "zh-HK"))
        for split in ("train", "dev", "test")
    }


def test_layout_kaldi(write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path) -> None:
    audio = tmp_path / "exp" / "audio"
    for split in ("train", "dev", "test"):
        folder = tmp_path / "exp" / "data" / split
        folder.mkdir(parents=True)
        write(audio / f"{split}-call.sph", rate_hz=8000, channels=2, seconds=4.0)
        write(audio / f"{split}-talk.wav", seconds=4.0)
        (folder / "wav.scp").write_text(
            f"{split}-call sph2pipe -f wav -p -c 2 audio/{split}-call.sph |\n"
            f"{split}-talk audio/{split}-talk.wav\n"
            f"{split}-made sox audio/{split}-talk.wav -t wav - |\n"
        )
        (folder / "segments").write_text(
            f"{split}-u1 {split}-call 0.00 1.90\n{split}-u2 {split}-talk 2.0 -1\n"
            f"{split}-u3 {split}-made 0 1\n{split}-u4 {split}-call 3 x\n{split}-u5 {split}-none 0 1\n"
        )
        (folder / "utt2spk").write_text(f"{split}-u1 {split}-ann\n{split}-u2 {split}-bob\n")
        (folder / "utt2lang").write_text(
            "".join(f"{split}-u{n} {'ara-arz' if n == 1 else 'qsl-pol'}\n" for n in range(1, 6))
        )
    corpus = prepare("kaldi", {split: f"exp/data/{split}" for split in ("train", "dev", "test")})
    assert rows(corpus) == {
        (split, language, f"{split}/{language}", f"{split}-{speaker}")
        for split in ("train", "dev", "test")
        for language, speaker in (("ara-arz", "ann"), ("qsl-pol", "bob"))
    }
    assert max(seconds_of(corpus)) <= 2.05
    assert {each.reason for each in corpus.skipped} == {
        "a pipe in wav.scp that is not sph2pipe's",
        "its line in segments is not: recording, start, end",
        "its recording is not in wav.scp",
    }


def test_layout_lre17(write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path) -> None:
    train, dev = tmp_path / "LDC2017E22", tmp_path / "LDC2017E23"
    for folder in (train, dev):
        (folder / "docs").mkdir(parents=True)
    lines = []
    for language in ("ara-acm", "zho-nan"):
        write(train / "data" / language / f"{language}-20031215.sph", rate_hz=8000)
        lines.append(f"{language}-20031215.sph {language}\n")
    (train / "docs" / "filename_language_key.tab").write_text("".join(lines))
    for part in ("dev", "eval"):
        key = ["segmentid\tlanguage_code\tdata_source\tspeech_duration\n"]
        for number, language in enumerate(("ara-acm", "zho-nan")):
            for suffix, source in ((".sph", "mls14"), (".flac", "vast")):
                write(
                    dev / "data" / part / f"lre17_{part}{source}{number}{suffix}",
                    rate_hz=8000 if suffix == ".sph" else 48000,
                )
                key.append(f"lre17_{part}{source}{number}{suffix}\t{language}\t{source}\t3\n")
        (dev / "docs" / f"lre17_{part}_segments.key").write_text("".join(key))
    (dev / "docs" / "lre17_dev_eval_sessionids.tsv").write_text(
        "segmentid\tsessionid\nlre17_devmls140.sph\tcall7\nlre17_devmls141.sph\tcall8\n"
    )
    corpus = prepare("lre17", {"train": "LDC2017E22", "dev": "LDC2017E23", "test": "LDC2017E23"})
    assert {(each.split, each.language, each.source) for each in corpus.recordings} == {
        (split, language, f"{source}/{language}")
        for split, sources in (
            ("train", ["lre17-train"]),
            ("dev", ["lre17-mls14-dev", "lre17-vast-dev"]),
            ("test", ["lre17-mls14-test", "lre17-vast-test"]),
        )
        for source in sources
        for language in ("ara-acm", "zho-nan")
    }
    assert {each.speaker for each in corpus.recordings if each.source.startswith("lre17-mls14-dev")} >= {
        "dev/call7",
        "dev/call8",
    }


def cuts(files: Sequence[tuple[Path, str, str]]) -> Iterator[dict[str, Any]]:
    """Lhotse's own JSON."""
    for file, language, speaker in files:
        facts = soundfile.info(file)
        yield {
            "id": f"cut-{file.stem}",
            "start": 0.25,
            "duration": 1.25,
            "channel": 0,
            "supervisions": [
                {
                    "id": f"sup-{file.stem}",
                    "recording_id": file.stem,
                    "start": 0.0,
                    "duration": 1.25,
                    "channel": 0,
                    "language": language,
                    "speaker": speaker,
                }
            ],
            "recording": {
                "id": file.stem,
                "sources": [{"type": "file", "channels": [0], "source": str(file)}],
                "sampling_rate": facts.samplerate,
                "num_samples": facts.frames,
                "duration": facts.duration,
            },
            "type": "MonoCut",
        }


def test_layout_lhotse(write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        files = [
            (write(tmp_path / "audio" / f"{split}-{language}.flac"), language, f"{split}-{language}-ann")
            for language in ("en", "fr")
        ]
        with gzip.open(tmp_path / f"cuts_{split}.jsonl.gz", "wt") as lines:
            lines.writelines(json.dumps(cut) + "\n" for cut in cuts(files))
    corpus = prepare("lhotse", {split: f"cuts_{split}.jsonl.gz" for split in ("train", "dev", "test")})
    assert rows(corpus) == {
        (split, language, f"cuts_{split}/{language}", f"{split}-{language}-ann")
        for split in ("train", "dev", "test")
        for language in ("en", "fr")
    }
    assert max(seconds_of(corpus)) <= 1.25


def test_layout_common_voice(write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path) -> None:
    root = tmp_path / "cv-corpus-20.0"
    head = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tvariant\tlocale\tsegment\n"
    for language in ("cy",):
        for split in ("train", "dev", "test"):
            clip = write(root / language / "clips" / f"common_voice_{language}_{split}.mp3", rate_hz=32000)
            (root / language / f"{split}.tsv").write_text(
                f'{head}client{split}\t{clip.name}\tShe said: "so\t2\t0\t\t\t\t\t{language}\t\n'
                f"client{split}\tgone.mp3\tNo\t2\t0\t\t\t\t\t{language}\t\n"
            )
    (root / "readme").mkdir()
    corpus = prepare("common_voice", root.name, top=INSISTS)
    assert rows(corpus) == {(split, "cy", "common_voice", f"client{split}") for split in ("train", "dev", "test")}


def test_layout_fleurs(write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path) -> None:
    root = tmp_path / "fleurs"
    for split in ("train", "dev", "test"):
        file = write(root / "cy_gb" / split / f"1{len(split)}23{split}.wav")
        table = root / "metadata" / "cy_gb" / f"{split}.tsv"
        table.parent.mkdir(parents=True, exist_ok=True)
        num_samples = soundfile.info(file).frames
        table.write_text(f"7\t{file.name}\tHelo.\thelo\th e l o |\t{num_samples}\tFEMALE\n")
    corpus = prepare("fleurs", "fleurs", top=INSISTS)
    assert {(each.split, each.language) for each in corpus.recordings} == {
        (split, "cy_gb") for split in ("train", "dev", "test")
    }
    assert len({each.speaker for each in corpus.recordings}) == 3, "its speakers are made up, so that each is its own"


# --- what is refused, and how -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(LAYOUTS))
def test_what_is_not_of_a_layout_is_refused_in_one_line(
    kind: str, prepare: Callable[..., PreparedCorpus], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("empty", "nowhere"):
        with pytest.raises(CorpusError) as caught:
            prepare(kind, path)
        assert "\n" not in str(caught.value)
        assert path in str(caught.value)


def test_a_corpus_that_shares_a_source_is_refused_unless_the_user_insists(
    write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path
) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / "voices" / split / "en" / split / "a.wav")
    with pytest.raises(CorpusError, match=r"'voices' is in train and in dev and test.* allow_shared = \[\"source\"\]"):
        prepare("folders", "voices")


def test_the_cuts_of_a_recording_and_a_speakers_recordings_stay_together(
    write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path
) -> None:
    """Speaker 1 is in recordings 0 and 1, speaker 2 in 1 and 2, and so on: a chain that no split may break."""
    lines = ["path,language,speaker,start_s,end_s"]
    for number in range(4):
        write(tmp_path / f"chain{number}.wav", seconds=4.0)
        lines += [f"chain{number}.wav,en,{number},0,1.5", f"chain{number}.wav,en,{number + 1},1.6,3.4"]
    for number in range(12):
        write(tmp_path / f"alone{number}.wav")
        lines.append(f"alone{number}.wav,en,alone{number},,")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    seen = set()
    for seed in range(3):
        corpus = prepare(
            "table", "list.csv", top=INSISTS, splits=f"{BY_SPEAKER}\ndev = 0.2\nseed = {seed}", name=f"seed{seed}"
        )
        chain = {each.split for each in corpus.recordings if each.id.startswith("chain")}
        assert len(chain) == 1
        assert {each.split for each in corpus.recordings} == {"train", "dev", "test"}
        seen.add(tuple(each.split for each in corpus.recordings))
    assert len(seen) > 1


def test_sources_can_be_named_for_development_and_test(
    write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path
) -> None:
    for source in ("radio", "tv", "phone"):
        write(tmp_path / f"{source}.wav")
    (tmp_path / "list.csv").write_text(
        "path,language,source\n" + "".join(f"{s}.wav,en,{s}\n" for s in ("radio", "tv", "phone"))
    )
    corpus = prepare("table", "list.csv", splits='kind = "sources"\ndev = ["tv"]\ntest = ["phone"]')
    assert {each.source: each.split for each in corpus.recordings} == {"radio": "train", "tv": "dev", "phone": "test"}
    with pytest.raises(CorpusError, match="splits name the source 'web'; this corpus has phone, radio, tv"):
        prepare("table", "list.csv", splits='kind = "sources"\ndev = ["web"]\ntest = ["tv"]', name="other")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = 1", r"name: "),
        ('name = "Mine"', r"name: "),
        (f'name = "prompts"\n{READER}', "name: 'prompts' is a corpus that comes with"),
        ('name = "mine"\n[reader]\nkind = "folder"\npath = "x"', r"reader\.kind: "),
        ('name = "mine"\n[reader]\nkind = "folders"', r"reader\.path: "),
        (
            'name = "mine"\n[reader]\nkind="folders"\npath="x"\n[splits]\nkind="speakers"\ndev=0.6\ntest=0.5',
            "something for training",
        ),
        ("name = ", "not valid TOML"),
    ],
)
def test_a_corpus_file_with_a_mistake_names_file_and_key(text: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_corpus(str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_description_under_the_same_name_is_refused(
    write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path
) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / "voices" / split / "en" / split / "a.wav")
    first = prepare("folders", "voices", top=INSISTS)
    assert prepare("folders", "voices", top=f'title = "Another title"\n{INSISTS}').data_hash == first.data_hash
    with pytest.raises(CorpusError, match=r"prepared in .* from another description"):
        prepare("folders", "voices", top=f'languages = ["en"]\n{INSISTS}')


# --- audio ------------------------------------------------------------------------------------------------------------


def test_odd_files_are_listed_with_their_reason_and_nothing_crashes(
    write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path
) -> None:
    root = tmp_path / "voices"
    for split in ("train", "dev", "test"):
        write(root / split / "en" / split / "good.wav")
    odd = root / "train" / "en" / "odd"
    odd.mkdir()
    rng = np.random.default_rng(0)
    whole = write(odd / "whole.wav").read_bytes()
    (odd / "cut short.wav").write_bytes(whole[: len(whole) // 2])
    (odd / "head only.wav").write_bytes(whole[:44])
    (odd / "empty.wav").write_bytes(b"")
    (odd / "text.mp3").write_text("This is no audio at all, whatever its name says.")
    (odd / "noise.ogg").write_bytes(rng.bytes(5000))
    (odd / "wrong name.wav").write_bytes(write(tmp_path / "x.flac").read_bytes())
    soundfile.write(odd / "silent.flac", np.zeros(16000), 16000)
    soundfile.write(odd / "offset.wav", np.full(16000, 0.5), 16000)
    soundfile.write(odd / "nan.wav", np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")
    soundfile.write(odd / "clipped.wav", np.sign(rng.normal(size=16000)) * 1.0, 16000)
    write(odd / "eight channels.flac", channels=8, rate_hz=16000)
    write(odd / "studio.wav", rate_hz=192000)
    write(odd / ("ü" * 90 + 'Ω and, "quotes".wav'))
    write(odd / ("long" * 60 + ".wav"))
    (odd / "a folder.wav").mkdir()
    corpus = prepare("folders", "voices", top=INSISTS)
    kept = {Path(each.id).name for each in corpus.recordings}
    reasons = {Path(each.path).name: each.reason for each in corpus.skipped}
    assert kept >= {"good", "whole", "cut short", "wrong name", "eight channels", "studio"}
    assert any(name.startswith("ü") for name in kept)
    assert reasons["empty"] == reasons["text"] == reasons["noise"] == "cannot be decoded"
    assert reasons["head only"] == "empty"
    assert reasons["silent"] == reasons["offset"] == "silent"
    assert reasons["nan"] == "samples that are not finite"
    assert "a name that is too long" in reasons.values()


def test_an_hour_is_converted_in_pieces_that_fit_together() -> None:
    rate_hz = 11025
    time_s = np.arange(300 * rate_hz) / rate_hz
    wave = (0.3 * np.sin(2 * np.pi * 440 * time_s + 3 * np.sin(2 * np.pi * 0.5 * time_s))).astype(np.float32)
    pieces = to_telephone_band(wave, rate_hz=rate_hz)
    time_s = np.arange(300 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    exact = 0.3 * np.sin(2 * np.pi * 440 * time_s + 3 * np.sin(2 * np.pi * 0.5 * time_s))
    assert len(pieces) == len(exact)
    np.testing.assert_allclose(pieces[800:-800], exact[800:-800], atol=2e-3)


def test_an_interrupted_prepare_goes_on_where_it_was(
    write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "dev", "test"):
        for number in range(30):
            write(tmp_path / "voices" / split / "en" / split / f"{number}.wav", seconds=0.6)
    whole = prepare("folders", "voices", top=INSISTS, name="whole")

    def interrupted(stage: str, _done: int, _total: int) -> None:
        if stage == "converting recordings":
            raise KeyboardInterrupt

    corpus = load_corpus(str(make_file(tmp_path)))
    journal = tmp_path / "workspace" / "corpora" / ".mine.partial" / "converted.jsonl"
    for times in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            prepare_corpus(corpus, tmp_path / "workspace", progress=interrupted)
        noted = journal.read_text().splitlines()
        assert len(noted) >= 31 * times
        journal.write_text("\n".join([*noted, '["cut off']))
    seen: list[int] = []
    resumed = prepare_corpus(
        corpus, tmp_path / "workspace", progress=lambda stage, done, _: seen.append(done) if stage[0] == "c" else None
    )
    assert min(seen) > 32, "what was converted is not converted again"
    assert resumed.data_hash == whole.data_hash
    assert not (resumed.root / "converted.jsonl").exists()


def make_file(folder: Path) -> Path:
    file = folder / "mine.toml"
    file.write_text(f'name = "mine"\n{INSISTS}\n[reader]\nkind = "folders"\npath = "voices"\n')
    return file


def test_recordings_have_what_a_manifest_needs(
    write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path
) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / "voices" / split / "en" / split / "a.wav")
    corpus = prepare("folders", "voices", top=f'licence = "ours"\n{INSISTS}')
    assert all(isinstance(each, Recording) and corpus.audio_path(each).is_file() for each in corpus.recordings)
    assert corpus.card.licences == ("ours",)
    assert corpus.card.languages == ("en",)
    assert "mine" not in CORPORA


def test_pauses_are_left_out_where_the_corpus_file_says_so(
    write: Write, prepare: Callable[..., PreparedCorpus], tmp_path: Path
) -> None:
    for split in ("train", "dev", "test"):
        file = write(tmp_path / "voices" / split / "en" / split / "a.wav", seconds=3.0)
        samples, rate_hz = soundfile.read(file)
        soundfile.write(file, np.concatenate([samples, np.zeros(4 * rate_hz), samples]), rate_hz)
    whole = prepare("folders", "voices", top=INSISTS, name="whole")
    cut = prepare("folders", "voices", top=f'activity = "energy"\n{INSISTS}')
    assert min(seconds_of(whole)) > 9.0
    assert max(seconds_of(cut)) < 6.6
