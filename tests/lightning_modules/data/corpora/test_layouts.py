"""Users' corpora: small trees of the true layouts, in the true codecs, prepared from their files."""

import gzip
import json
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from lightning_modules.data.corpora import LAYOUTS
from lightning_modules.errors import CorpusError
from tests.lightning_modules.data.corpora.helpers import BY_SPEAKER, INSISTS, Prepare, Write, rows, seconds_of


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


def test_layout_folders(write: Write, prepare: Prepare, tmp_path: Path) -> None:
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


def test_layout_table(write: Write, prepare: Prepare, tmp_path: Path) -> None:
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


def test_a_table_of_another_country_is_told_what_parts_its_columns(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path;language\na.wav;en\n")
    with pytest.raises(CorpusError, match=r"has no column 'path' \(its columns are separated by semicolons"):
        prepare("table", "list.csv")


def test_layout_voxlingua107(write: Write, prepare: Prepare, tmp_path: Path) -> None:
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


def test_layout_common_language(write: Write, prepare: Prepare, tmp_path: Path) -> None:
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


def test_layout_kaldi(write: Write, prepare: Prepare, tmp_path: Path) -> None:
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
            f"{split}-part\tsph2pipe -t 1:2 audio/{split}-call.sph |\n"
        )
        (folder / "segments").write_text(
            f"{split}-u1 {split}-call 0.00 1.90\n{split}-u2 {split}-talk 2.0 -1\n"
            f"{split}-u3 {split}-made 0 1\n{split}-u4 {split}-call 3 x\n{split}-u5 {split}-none 0 1\n"
            f"{split}-u6\t{split}-part\t0\t1\n"
        )
        (folder / "utt2spk").write_text(f"{split}-u1 {split}-ann\n{split}-u2 {split}-bob\n")
        (folder / "utt2lang").write_text(
            "".join(f"{split}-u{n} {'ara-arz' if n == 1 else 'qsl-pol'}\n" for n in range(1, 7))
        )
    places = {split: f"exp/data/{split}" for split in ("train", "dev", "test")}
    with pytest.raises(CorpusError, match="source 'mine/ara-arz' is in train and in dev and test"):
        prepare("kaldi", places)
    corpus = prepare("kaldi", places, top=INSISTS)
    assert rows(corpus) == {
        (split, language, f"mine/{language}", f"{split}-{speaker}")
        for split in ("train", "dev", "test")
        for language, speaker in (("ara-arz", "ann"), ("qsl-pol", "bob"))
    }
    assert max(seconds_of(corpus)) <= 2.05
    assert {each.reason for each in corpus.skipped} == {
        "a pipe in wav.scp that is not sph2pipe -f -p -c",
        "its line in segments is not: recording, start, end",
        "its recording is not in wav.scp",
    }


def test_the_sides_of_calls_in_a_kaldi_folder_stay_together(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    tables: dict[str, list[str]] = {"wav.scp": [], "utt2lang": [], "utt2spk": []}
    for call in range(6):
        sides = [soundfile.read(write(tmp_path / f"{call}-{side}.wav", rate_hz=8000))[0] for side in "AB"]
        soundfile.write(tmp_path / f"{call}.sph", np.stack(sides, axis=1), 8000, format="NIST", subtype="ULAW")
        for side, channel in (("A", 1), ("B", 2)):
            name = f"call{call}-{side}"
            tables["wav.scp"].append(f"{name} sph2pipe -f wav -p -c {channel} {tmp_path}/{call}.sph |")
            tables["utt2lang"].append(f"{name} {'eng' if call % 2 else 'spa'}")
            tables["utt2spk"].append(f"{name} speaker-{name}")
    for table, lines in tables.items():
        (tmp_path / "data" / table).write_text("\n".join(lines) + "\n")
    corpus = prepare("kaldi", "data", top=INSISTS, splits=BY_SPEAKER)
    assert {each.split for each in corpus.recordings} == {"train", "dev", "test"}
    for call in range(6):
        kept = [each for each in corpus.recordings if each.id.startswith(f"call{call}-")]
        assert len(kept) == 2
        assert len({each.split for each in kept}) == 1
        assert {each.cut_of for each in kept} == {f"call{call}-A"}, "so that whoever divides them anew knows"


def test_a_kaldi_table_with_a_key_twice_is_refused(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text("one a.wav\none b.wav\n")
    with pytest.raises(CorpusError, match=r"wav\.scp: one stands there twice"):
        prepare("kaldi", "data")


def test_a_kaldi_folder_that_is_called_data_itself(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    folder = tmp_path / "exp" / "data"
    folder.mkdir(parents=True)
    for name in ("train", "dev", "test"):
        write(tmp_path / "exp" / "audio" / f"{name}.wav")
    for table, column in (("wav.scp", "audio/{}.wav"), ("utt2lang", "eng"), ("utt2spk", "s-{}")):
        lines = [f"{name} {column.format(name)}\n" for name in ("train", "dev", "test")]
        (folder / table).write_text("".join(lines))
    corpus = prepare("kaldi", "exp/data", top=INSISTS, splits=BY_SPEAKER)
    assert {each.id for each in corpus.recordings} == {"train", "dev", "test"}


def test_layout_lre17(write: Write, prepare: Prepare, tmp_path: Path) -> None:
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


def test_layout_lhotse(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        files = [
            (write(tmp_path / "audio" / f"{split}-{language}.flac"), language, f"{split}-{language}-ann")
            for language in ("en", "fr")
        ]
        with gzip.open(tmp_path / f"cuts_{split}.jsonl.gz", "wt") as lines:
            lines.writelines(json.dumps(cut) + "\n" for cut in cuts(files))
    corpus = prepare("lhotse", {split: f"cuts_{split}.jsonl.gz" for split in ("train", "dev", "test")}, top=INSISTS)
    assert rows(corpus) == {
        (split, language, f"mine/{language}", f"{split}-{language}-ann")
        for split in ("train", "dev", "test")
        for language in ("en", "fr")
    }
    assert max(seconds_of(corpus)) <= 1.25


def by_lhotse(manifests: Any) -> set[tuple[str, ...]]:
    """(split, language, file's name, speaker) of what a recipe of Lhotse's found."""
    return {
        (split, language, Path(recording.sources[0].source).name, supervision.speaker)
        for language, parts in manifests.items()
        for split, sets in parts.items()
        for recording, supervision in zip(sets["recordings"], sets["supervisions"], strict=True)
    }


def test_a_lhotse_recording_of_several_files_is_read_from_the_one_that_holds_the_channel(
    write: Write, prepare: Prepare, tmp_path: Path
) -> None:
    places = {}
    for split in ("train", "dev", "test"):
        files = [write(tmp_path / "audio" / f"{split}-{side}.wav") for side in ("a", "b")]
        lines = list(cuts([(files[0], "en", f"{split}-ann"), (files[0], "fr", f"{split}-bob")]))
        for channel, cut in enumerate(lines):
            cut["id"] = f"{split}-{channel}"
            cut["recording"]["sources"] = [
                {"type": "file", "channels": [number], "source": str(file)} for number, file in enumerate(files)
            ]
            cut["channel"] = cut["supervisions"][0]["channel"] = channel
        changed = json.loads(json.dumps(lines[0]))
        changed["id"] = f"{split}-faster"
        changed["recording"]["transforms"] = [{"name": "Speed", "kwargs": {"factor": 2.0}}]
        places[split] = f"{split}.jsonl"
        (tmp_path / places[split]).write_text("".join(json.dumps(cut) + "\n" for cut in [*lines, changed]))
    corpus = prepare("lhotse", places, top=INSISTS)
    found = {each.id: corpus.audio_path(each) for each in corpus.recordings}
    assert set(found) == {f"{split}/{split}-{channel}" for split in places for channel in (0, 1)}
    one, other = (soundfile.read(found[f"train/train-{channel}"])[0] for channel in (0, 1))
    shared = min(len(one), len(other))
    assert not np.allclose(one[:shared], other[:shared], atol=0.01)
    assert {each.reason for each in corpus.skipped} == {
        "its recording is changed as it is read; write it to a file first"
    }


def test_layout_common_voice(write: Write, prepare: Prepare, tmp_path: Path) -> None:
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
    recipe = pytest.importorskip("lhotse.recipes.commonvoice")
    found = by_lhotse(recipe.prepare_commonvoice(root, tmp_path / "manifests", languages=["cy"]))
    with (root / "cy" / "train.tsv").open("a") as table:
        table.write("\t\n")
    (root / "cy" / "clips" / "broken.mp3").write_bytes(b"no audio")
    older = "client_id\tpath\tsentence\n"
    (root / "cy" / "dev.tsv").write_text(f"{older}clientdev\tcommon_voice_cy_dev.mp3\tSo\nclientdev\tbroken.mp3\tSo\n")
    corpus = prepare("common_voice", root.name, top=INSISTS)
    assert rows(corpus) == {(split, "cy", "common_voice", f"client{split}") for split in ("train", "dev", "test")}
    ours = {(each.split, each.language, f"{Path(each.id).name}.mp3", each.speaker) for each in corpus.recordings}
    assert ours == found
    assert {(each.path, each.reason) for each in corpus.skipped} == {
        ("cy/train/gone.mp3", "no such file"),
        ("cy/train.tsv, line 4", "no path or client_id"),
        ("cy/dev/broken.mp3", "cannot be decoded"),
        ("cy/test/gone.mp3", "no such file"),
    }
    (root / "cy" / "dev.tsv").write_text("path\tsentence\n")
    with pytest.raises(CorpusError, match=r"dev\.tsv has no column 'client_id'"):
        prepare("common_voice", root.name, name="other")


def test_layout_fleurs(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    root = tmp_path / "fleurs"
    for split in ("train", "dev", "test"):
        file = write(root / "cy_gb" / split / f"1{len(split)}23{split}.wav")
        table = root / "metadata" / "cy_gb" / f"{split}.tsv"
        table.parent.mkdir(parents=True, exist_ok=True)
        num_samples = soundfile.info(file).frames
        table.write_text(f"7\t{file.name}\tHelo.\thelo\th e l o |\t{num_samples}\tFEMALE\n")
    recipe = pytest.importorskip("lhotse.recipes.fleurs")
    found = by_lhotse(recipe.prepare_fleurs(root, tmp_path / "manifests", languages=["cy_gb"]))
    with table.open("a") as more:
        more.write("8\tgone.wav\tHelo.\thelo\th e l o |\t1\tMALE\n\n")
    corpus = prepare("fleurs", "fleurs", top=INSISTS)
    ours = {(each.split, each.language, f"{Path(each.id).name}.wav") for each in corpus.recordings}
    assert ours == {(split, language, file) for split, language, file, _ in found}
    assert len({each.speaker for each in corpus.recordings}) == 3, "its speakers are made up, so that each is its own"
    assert {(each.path, each.reason) for each in corpus.skipped} == {
        ("cy_gb/test/gone.wav", "no such file"),
        ("metadata/cy_gb/test.tsv, line 3", "names no file"),
    }


def test_recordings_of_one_name_in_several_places_are_speakers_of_their_own(
    write: Write, prepare: Prepare, tmp_path: Path
) -> None:
    places = {"train": "tr", "dev": "dv", "test": "te"}
    for folder in places.values():
        for language in ("en", "fr"):
            write(tmp_path / folder / language / "000.wav")
    corpus = prepare("folders", places, top=INSISTS)
    assert {(each.split, each.speaker) for each in corpus.recordings if each.language == "en"} == {
        (split, f"{split}/en/000") for split in places
    }
