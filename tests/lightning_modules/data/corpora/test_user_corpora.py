"""Users' corpora: how they are described, split and refused, and what becomes of odd files."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lightning_modules.config.corpus import SpeakerSplitsConfig
from lightning_modules.data.audio import SAMPLE_RATE_HZ, to_telephone_band
from lightning_modules.data.corpora import CORPORA, LAYOUTS
from lightning_modules.data.corpora._assignment import assign_splits
from lightning_modules.data.corpora._layout import Found
from lightning_modules.data.manifest import Recording
from lightning_modules.data.prepared import prepare_corpus, prepared_names
from lightning_modules.errors import ConfigError, CorpusError
from study.corpus_file import load_corpus
from tests.lightning_modules.data.corpora.helpers import BY_SPEAKER, INSISTS, Prepare, Write, seconds_of

READER = '[reader]\nkind = "folders"\npath = "x"'


@pytest.mark.parametrize("kind", list(LAYOUTS))
def test_what_is_not_of_a_layout_is_refused_in_one_line(kind: str, prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in ("empty", "nowhere"):
        with pytest.raises(CorpusError) as caught:
            prepare(kind, path)
        assert "\n" not in str(caught.value)
        assert path in str(caught.value)


def test_a_corpus_that_shares_a_source_is_refused_unless_the_user_insists(
    write: Write, prepare: Prepare, tmp_path: Path
) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / "voices" / split / "en" / split / "a.wav")
    with pytest.raises(CorpusError, match=r"'voices' is in train and in dev and test.* allow_shared = \[\"source\"\]"):
        prepare("folders", "voices")
    assert prepared_names(tmp_path / "workspace") == [], "so that following the advice is no other description"
    assert len(prepare("folders", "voices", top=INSISTS).recordings) == 3


def test_cuts_of_one_recording_in_two_splits_are_refused(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    for name in ("call", "talk", "chat"):
        write(tmp_path / f"{name}.wav", seconds=4.0)
    lines = ["path,language,speaker,split,start_s,end_s", "call.wav,en,ann,train,0,2", "call.wav,en,bob,test,2,4"]
    (tmp_path / "list.csv").write_text("\n".join([*lines, "talk.wav,en,cat,dev,,", "chat.wav,en,dan,test,,"]))
    with pytest.raises(CorpusError, match="are cuts of recording 'call' in train and test"):
        prepare("table", "list.csv", top=INSISTS)
    parts = {"train": "call.wav,en,ann,0,2", "dev": "talk.wav,en,cat,,", "test": "call.wav,en,bob,2,4"}
    for split, row in parts.items():
        (tmp_path / f"{split}.csv").write_text(f"path,language,speaker,start_s,end_s\n{row}\n")
    with pytest.raises(CorpusError, match=r"are cuts of file '.*call\.wav' in train and test"):
        prepare("table", {split: f"{split}.csv" for split in parts}, top=INSISTS)


def test_paths_of_a_table_may_lead_anywhere(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    rows = [f"{write(tmp_path / 'elsewhere' / 'one.wav')},en,train,a", "../elsewhere/two.wav,en,dev,b"]
    rows.append("../elsewhere/three.wav,en,test,c")
    for name in ("two", "three"):
        write(tmp_path / "elsewhere" / f"{name}.wav")
    (tmp_path / "lists" / "list.csv").write_text("\n".join(["path,language,split,speaker", *rows]))
    corpus = prepare("table", "lists/list.csv", top=INSISTS)
    assert {Path(each.id).name for each in corpus.recordings} == {"one", "two", "three"}


def test_nothing_below_a_folder_is_lost_without_a_word(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    root = tmp_path / "voices"
    for split in ("train", "dev", "test"):
        write(root / split / "en" / split / "a.wav")
    write(root / "validation" / "en" / "x" / "b.wav")
    write(tmp_path / "outside" / "c.wav")
    (root / "train" / "fr").mkdir()
    (root / "train" / "fr" / "linked").symlink_to(tmp_path / "outside")
    (root / "train" / "fr" / "round").symlink_to(root)
    corpus = prepare("folders", "voices", top=INSISTS)
    assert "train/fr/linked/c" in {each.id for each in corpus.recordings}
    assert {each.path: each.reason for each in corpus.skipped} == {
        "validation/en/x/b.wav": "in none of train, dev, test"
    }


def test_speakers_of_several_languages_leave_every_language_in_all_splits(
    write: Write, prepare: Prepare, tmp_path: Path
) -> None:
    lines = ["path,language,speaker"]
    for number in range(9):
        for language in ("en", "fr") if number < 4 else ("en",) if number < 7 else ("fr",):
            file = write(tmp_path / f"{language}{number}.wav", seconds=0.6)
            lines.append(f"{file.name},{language},{number}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    for seed in range(8):
        corpus = prepare("table", "list.csv", top=INSISTS, splits=f"{BY_SPEAKER}\nseed = {seed}", name=f"seed{seed}")
        for language in ("en", "fr"):
            assert {each.split for each in corpus.recordings if each.language == language} == {"train", "dev", "test"}


@pytest.mark.parametrize("seed", range(8))
def test_a_speaker_who_says_nearly_everything_is_trained_on(seed: int) -> None:
    sizes = {"much": 1000, "a": 10, "b": 10, "c": 10}
    found = [
        Found(id=f"{name}/{number}", file=Path(f"{name}/{number}.wav"), language="en", speaker=name, recording="")
        for name, size in sizes.items()
        for number in range(size)
    ]
    found = [replace(each, recording=each.id) for each in found]
    split_of = {each.speaker: each.split for each in assign_splits(found, SpeakerSplitsConfig(seed=seed))}
    assert split_of["much"] == "train"
    assert set(split_of.values()) == {"train", "dev", "test"}


def test_a_corpus_that_comes_out_empty_says_why(prepare: Prepare, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / "voices" / split / "en").mkdir(parents=True)
        (tmp_path / "voices" / split / "en" / "a.wav").write_bytes(b"no audio")
    (tmp_path / "voices" / "test" / "en" / "b.wav").touch()
    with pytest.raises(CorpusError, match=r"of 4 files none could be used: cannot be decoded \(3\); empty \(1\)\."):
        prepare("folders", "voices", top=INSISTS)


def test_a_recording_in_two_codecs_counts_once_and_a_broken_one_costs_nothing(
    write: Write, prepare: Prepare, tmp_path: Path
) -> None:
    for split in ("train", "dev", "test"):
        for name in ("both", "one"):
            file = write(tmp_path / "voices" / split / "en" / split / f"{name}.ogg")
            samples, rate_hz = soundfile.read(file)
            soundfile.write(file.with_suffix(".flac"), samples * 0.5, rate_hz)
        file.with_suffix(".flac").write_bytes(b"broken")
    corpus = prepare("folders", "voices", top=INSISTS)
    assert {Path(each.id).name for each in corpus.recordings} == {"both", "one.ogg"}
    assert len(corpus.recordings) == 6
    assert {(Path(each.path).name, each.reason.rpartition("/")[2]) for each in corpus.skipped} == {
        ("both.ogg", "both"),
        ("one.flac", "cannot be decoded"),
    }


def test_files_of_one_name_that_are_not_as_long_are_two_recordings(
    write: Write, prepare: Prepare, tmp_path: Path
) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / "voices" / split / "en" / split / "a.wav")
    write(tmp_path / "voices" / "train" / "en" / "train" / "a.mp3", seconds=3.2)
    corpus = prepare("folders", "voices", top=INSISTS)
    assert corpus.skipped == ()
    assert len([each for each in corpus.recordings if each.split == "train"]) == 2


def test_the_cuts_of_a_recording_and_a_speakers_recordings_stay_together(
    write: Write, prepare: Prepare, tmp_path: Path
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


def test_languages_of_a_layout_can_be_renamed(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    root = tmp_path / "voices"
    for split in ("train", "dev", "test"):
        for language in ("en_us", "en_gb", "fr_fr"):
            write(root / split / language / f"{language}-{split}" / "a.wav")
    top = f'{INSISTS}\nlanguages = ["en"]\n[rename]\nen_us = "en"\nen_gb = "en"'
    corpus = prepare("folders", "voices", top=top)
    assert {each.language for each in corpus.recordings} == {"en"}
    assert len(corpus.recordings) == 6
    with pytest.raises(CorpusError, match=r"rename: there is no 'de_de', but en_gb, en_us, fr_fr\."):
        prepare("folders", "voices", top='[rename]\nde_de = "de"', name="other")


def test_a_language_that_is_not_there_is_told_with_those_that_are(
    write: Write, prepare: Prepare, tmp_path: Path
) -> None:
    for language in ("en_us", "fr_fr"):
        write(tmp_path / "voices" / language / "a.wav")
    with pytest.raises(CorpusError, match="no speech in en in voices, but in en_us, fr_fr"):
        prepare("folders", "voices", top='languages = ["en"]', splits=BY_SPEAKER)


def test_a_description_without_renaming_is_what_it_was_before_there_was_any(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(f'name = "mine"\n{READER}\n')
    assert "rename" not in load_corpus(str(tmp_path / "mine.toml")).definition


def test_sources_can_be_named_for_development_and_test(write: Write, prepare: Prepare, tmp_path: Path) -> None:
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
        ('name = "mine"\n[reader]\nkind = "folders"\npath = 3', r"reader\.path: name a folder or file.* \(got 3\)$"),
        ('name = "mine"\n[reader]\nkind = "folders"\npath = {valid = "x"}', r"reader\.path: name a folder .* test ="),
        (f'name = "mine"\nlanguages = "en"\n{READER}', r'languages: must be a list \(got "en"\)'),
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


def test_a_recording_that_another_s_folder_keeps_out_is_listed(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / "voices" / split / "en" / split / "a.wav")
    write(tmp_path / "voices" / "train" / "en" / "train" / "a.flac" / "b.wav")
    corpus = prepare("folders", "voices", top=INSISTS)
    assert "train/en/train/a.flac/b" in {each.id for each in corpus.recordings}
    assert {each.path: each.reason for each in corpus.skipped} == {
        "train/en/train/a": "its audio would have the name of another recording's folder"
    }


def test_places_that_no_file_has_are_listed(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    rows = ["path,language,speaker,split,id,start_s,end_s"]
    for split in ("train", "dev", "test"):
        write(tmp_path / f"{split}.wav")
        rows.append(f"{split}.wav,en,{split},{split},{split},,")
    write(tmp_path / "long.wav")
    rows += ["long.wav,en,x,train,late,1e307,1e308", "long.wav,en,x,train,far,0,1e306", "a\0b.wav,en,x,train,nul,,"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    corpus = prepare("table", "list.csv", top=INSISTS)
    assert {each.id for each in corpus.recordings} == {"train", "dev", "test", "far"}
    assert {each.path.split()[0]: each.reason for each in corpus.skipped} == {
        "late": "nothing in that stretch",
        "nul": "no such file",
    }


def test_another_description_under_the_same_name_is_refused(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / "voices" / split / "en" / split / "a.wav")
    first = prepare("folders", "voices", top=INSISTS)
    assert prepare("folders", "voices", top=f'title = "Another title"\n{INSISTS}').data_hash == first.data_hash
    with pytest.raises(CorpusError, match=r"prepared in .* from another description"):
        prepare("folders", "voices", top=f'languages = ["en"]\n{INSISTS}')


# --- audio ------------------------------------------------------------------------------------------------------------


def test_odd_files_are_listed_with_their_reason_and_nothing_crashes(
    write: Write, prepare: Prepare, tmp_path: Path
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
    (odd / "leads nowhere.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(odd / "pipe.wav")
    (odd / "notes.txt").write_text("who said what")
    (odd / "speech").write_bytes(whole)
    (odd / ".hidden.wav").write_bytes(whole)
    (odd / ".trash").mkdir()
    (odd / ".trash" / "b.wav").write_bytes(whole)
    corpus = prepare("folders", "voices", top=INSISTS)
    kept = {Path(each.id).name for each in corpus.recordings}
    reasons = {Path(each.path).name: each.reason for each in corpus.skipped}
    assert kept >= {"good", "whole", "cut short", "wrong name", "eight channels", "studio"}
    assert any(name.startswith("ü") for name in kept)
    assert reasons["text.mp3"] == reasons["noise.ogg"] == "cannot be decoded"
    assert reasons["head only.wav"] == reasons["empty.wav"] == "empty"
    assert reasons["silent.flac"] == reasons["offset.wav"] == "silent"
    assert reasons["nan.wav"] == "samples that are not finite"
    assert reasons["leads nowhere.wav"] == "no such file"
    assert reasons["pipe.wav"] == "not a file"
    assert reasons["notes.txt"] == reasons["speech"] == "no audio, by its suffix"
    assert not any(each.startswith((".hidden", "b")) for each in {*reasons, *kept})
    damaged = {Path(each.path).name: each.reason for each in corpus.damaged}
    assert damaged["cut short.wav"] == "cut short"
    assert damaged["clipped.wav"] == "clipped (100% of its samples lie at the limit)"
    assert not {"whole.wav", "eight channels.flac", "studio.wav", "wrong name.wav"} & set(damaged)
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
    write: Write, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_recordings_have_what_a_manifest_needs(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / "voices" / split / "en" / split / "a.wav")
    corpus = prepare("folders", "voices", top=f'licence = "ours"\n{INSISTS}')
    assert all(isinstance(each, Recording) and corpus.audio_path(each).is_file() for each in corpus.recordings)
    assert corpus.card.licences == ("ours",)
    assert corpus.card.languages == ("en",)
    assert "mine" not in CORPORA


def test_pauses_are_left_out_where_the_corpus_file_says_so(write: Write, prepare: Prepare, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        file = write(tmp_path / "voices" / split / "en" / split / "a.wav", seconds=3.0)
        samples, rate_hz = soundfile.read(file)
        soundfile.write(file, np.concatenate([samples, np.zeros(4 * rate_hz), samples]), rate_hz)
    whole = prepare("folders", "voices", top=INSISTS, name="whole")
    cut = prepare("folders", "voices", top=f'activity = "energy"\n{INSISTS}')
    assert min(seconds_of(whole)) > 9.0
    assert max(seconds_of(cut)) < 6.6


@pytest.mark.parametrize("name", ["x" * 300 + ".wav", "y/" * 2500 + "z.wav"])
def test_a_path_that_no_file_system_takes_is_no_file(name: str, write: Write, prepare: Prepare, tmp_path: Path) -> None:
    lines = ["path,language,source,speaker,split", f"{name},en,a,ann,train"]
    for split in ("train", "dev", "test"):
        write(tmp_path / f"{split}.wav")
        lines.append(f"{split}.wav,en,{split},{split}-bob,{split}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    corpus = prepare("table", "list.csv")
    assert len(corpus.recordings) == 3
    assert len(corpus.skipped) == 1
