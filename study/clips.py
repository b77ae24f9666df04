"""Short pieces of a corpus's audio that a report lets its readers hear."""

import io
from pathlib import Path

import numpy as np

from lightning_modules.config import DataConfig
from lightning_modules.data.manifest import Recording, Split, Utterance
from lightning_modules.data.prepared import PreparedCorpus, open_corpus_of
from lightning_modules.data.utterances import join_utterances
from lightning_modules.errors import ConfigError, CorpusError
from reports.records import StudyRecord
from reports.sections.speakers import summarise, worth_hearing
from reports.selection import chosen
from search_spaces.assignment import overlay

LONGEST_S = 6.0
COMPRESSION = 0.5  # libsndfile's 0..1: about 3 kB a second of speech
SPLITS: dict[str, Split] = {"development": "dev", "test": "test"}


def clips_of(study: StudyRecord, workspace: Path) -> dict[str, bytes]:
    """MP3s of the utterances, or segments, that a report would play.

    Raises:
        CorpusError: the study's corpus is not prepared in this workspace.
        ConfigError: what is prepared there is not what the study scored.
    """
    speakers, trial = summarise(study), chosen(study)
    wanted = worth_hearing(speakers)
    if speakers is None or trial is None or not wanted:
        return {}
    params = {path: value for path, value in trial.params.items() if path.startswith("data.")}
    data = DataConfig.model_validate(overlay(study.manifest.config["trial"], params)["data"])
    corpus = open_corpus_of(data, workspace)
    scored = study.manifest.corpus.get("data_hash")
    if corpus.data_hash != scored:
        raise ConfigError(
            f"--clips: corpus '{corpus.name}' of this workspace is version {corpus.data_hash}, but study "
            f"'{study.manifest.name}' scored version {scored}; leave --clips out, or prepare what it scored."
        )
    split = SPLITS[speakers.split]
    utterances = {each.id: each for each in join_utterances(corpus.recordings, split=split, data=data)}
    recordings = {each.id: each for each in corpus.recordings}
    found = {name: utterances.get(name.partition(":")[2]) or utterances.get(name) for name in wanted}
    return {name: clip(each, recordings, corpus) for name, each in found.items() if each is not None}


def clip(utterance: Utterance, recordings: dict[str, Recording], corpus: PreparedCorpus) -> bytes:
    """The beginning of an utterance as MP3; the same audio gives the same bytes.

    Raises:
        CorpusError: a file of it is missing or damaged.
    """
    import soundfile

    pieces: list[np.ndarray] = []
    left_s, rate_hz = min(LONGEST_S, utterance.duration_s), 0
    for name in utterance.recordings:
        path = corpus.audio_path(recordings[name])
        try:
            with soundfile.SoundFile(path) as file:
                rate_hz = file.samplerate
                file.seek(round((utterance.start_s or 0.0) * rate_hz))
                pieces.append(file.read(round(left_s * rate_hz), dtype="float32"))
        except (OSError, RuntimeError) as error:
            raise CorpusError(f"{path} cannot be read: {error}") from None
        left_s -= len(pieces[-1]) / rate_hz
        if left_s <= 0.0:
            break
    target = io.BytesIO()
    soundfile.write(target, np.concatenate(pieces), rate_hz, format="MP3", compression_level=COMPRESSION)
    return target.getvalue()
