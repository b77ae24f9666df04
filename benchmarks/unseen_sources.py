"""What helps on sources never heard: the best configuration of preset `unseen_sources`, each technique alone changed.

    lidstudy sweep unseen_sources --workspace W               # finds the base; about 20 minutes on two cores
    python -m benchmarks.unseen_sources run --workspace W     # 20 arms x 5 seeds x 2 folds; an hour or two, goes on
    python -m benchmarks.unseen_sources cheap --workspace W   # what a classifier of cepstral statistics gets
    python -m benchmarks.unseen_sources table --workspace W   # the tables of docs/unseen-sources.md

Every arm has the same seeds, budget and data order, no pruning, and the learning rate of the base. Scores are those of
development data, the half of the left-out sources that chose each training's best epoch, for all arms alike; test data
is left alone. One arm begins with the encoder of a training on synthetic speech; one has fewer sources to train on, and
one more languages, which are not told apart in the scores: each in a study of its own, since what is trained on cannot
be searched.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import numpy as np

from reports.load import load_study
from reports.records import TrialState
from reports.statistics import permutation_p_value, t_interval
from study.control import Enqueue, send
from study.opening import read_trials
from study.workspace import Workspace

BASE: Final[dict[str, Any]] = {
    "augmentation.copies.telephone": 0.5,
    "augmentation.copies.noise": 0.0,
    "augmentation.copies.music": 0.0,
    "augmentation.copies.reverberation": 0.0,
    "augmentation.copies.pitch": 0.5,
    "augmentation.band_offset": 1.0,
    "augmentation.gain": 0.5,
    "augmentation.noise": 3.0,
    "augmentation.warp": 0.25,
    "augmentation.speed": 0.0,
    "augmentation.time_masks": 2,
    "augmentation.band_masks": 4,
    "data.features.normalisation": "sliding",
    "encoder.dropout": 0.0,
    "training.source_exponent": 1.0,
    "training.pretrained": "none",
}
"""Trial 8 of 32 of the preset's sweep; what the sweep did not search stands at its default."""
FIXED: Final = """
[trial.encoder]
cell = "gru"
hidden_size = 128
[trial.pooling]
kind = "mean"
[trial.optimizer]
learning_rate = 0.003297723152626038
"""
ARMS: Final[dict[str, dict[str, Any]]] = {
    "base": {},
    "without telephone copies": {"augmentation.copies.telephone": 0.0},
    "without pitched copies": {"augmentation.copies.pitch": 0.0},
    "without any copy": {f"augmentation.copies.{kind}": 0.0 for kind in ("telephone", "pitch")},
    "without band offsets": {"augmentation.band_offset": 0.0},
    "without warped bands": {"augmentation.warp": 0.0},
    "without band masks": {"augmentation.band_masks": 0},
    "without time masks": {"augmentation.time_masks": 0},
    "without noise over features": {"augmentation.noise": 0.0},
    "without gain": {"augmentation.gain": 0.0},
    "normalised by utterance": {"data.features.normalisation": "utterance"},
    "all sources equally often": {"training.source_exponent": 0.0},
    "with noisy copies": {"augmentation.copies.noise": 0.5},
    "with reverberant copies": {"augmentation.copies.reverberation": 0.5},
    "with music": {"augmentation.copies.music": 0.5},
    "with changed speed": {"augmentation.speed": 0.25},
    "with dropout": {"encoder.dropout": 0.3},
    "begun with synthetic speech": {"training.pretrained": "unseen_pretraining/0"},
}
CORPUS: Final = "prompts_further"
OTHER_SPEECH: Final = {
    "without further sources": 'corpus = "prompts"',
    "with Czech and Dutch": f'corpus = "{CORPUS}"\nfurther_languages = ["cs", "nl"]',
}
"""Arms that no parameter makes."""
SEEDS: Final = (101, 102, 103, 104, 105)
FOLDS: Final = (1, 0)
STUDY: Final = """
name = "{name}"
question = "Which technique helps on sources never heard in training (fold {fold})?"
space = "{name}_space.toml"
trials = 1
seed = 7
evaluate = false
[sampler]
kind = "random"
[pruner]
kind = "none"
[trial.data]
segment_s = 4.0
{data}
[trial.data.splits]
kind = "leave_source_out"
fold = {fold}
[trial.training]
max_epochs = 10
steps_per_epoch = 60
batch_size = 32
{fixed}
"""
PRETRAINING: Final = """
name = "unseen_pretraining"
question = "An encoder that has heard synthetic speech in five languages."
space = "demo"
trials = 1
[trial.data]
corpus = "espeak"
segment_s = 4.0
[trial.data.features]
normalisation = "sliding"
[trial.augmentation]
warp = 0.25
band_offset = 1.0
band_masks = 4
time_masks = 2
noise = 3.0
gain = 0.5
[trial.training]
max_epochs = 10
steps_per_epoch = 60
batch_size = 32
{fixed}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "cheap", "table"])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--fold", type=int, choices=FOLDS, action="append", help="one fold; both by default")
    arguments = parser.parse_args()
    for fold in arguments.fold or FOLDS:
        if arguments.what == "run":
            run(arguments.workspace, fold)
        elif arguments.what == "table":
            print(table(arguments.workspace, fold))
        else:
            print(cheap(arguments.workspace, fold))


def studies_of(fold: int) -> dict[str, tuple[str, dict[str, dict[str, Any]]]]:
    """Name -> what it says of its data, and its arms."""
    others: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
        f"unseen_{arm.replace(' ', '_').lower()}_{fold}": (data, {arm: {}}) for arm, data in OTHER_SPEECH.items()
    }
    return {f"unseen_ablation_{fold}": (f'corpus = "{CORPUS}"', ARMS), **others}


def run(workspace: Path, fold: int) -> None:
    """Trains every arm under every seed that is not on record; the same command goes on."""
    _pretrain(workspace)
    for name, (data, arms) in studies_of(fold).items():
        _run(workspace, fold, name=name, arms=arms, data=data)


def _pretrain(workspace: Path) -> None:
    """One training on corpus `espeak`, unless it is there."""
    if "unseen_pretraining" in Workspace(workspace).study_names():
        return
    path = workspace / "unseen_pretraining.toml"
    path.write_text(PRETRAINING.format(fixed=FIXED))
    _lidstudy("corpus", "prepare", "espeak", workspace=workspace)
    _lidstudy("train", path, "--study", path.stem, workspace=workspace)


def _lidstudy(*arguments: str | Path, workspace: Path) -> None:
    subprocess.run([_program(), *arguments, "--workspace", workspace], check=True)


def _program() -> Path:
    return Path(sys.executable).with_name("lidstudy")


def _run(workspace: Path, fold: int, *, name: str, arms: Mapping[str, Mapping[str, Any]], data: str) -> None:
    folder = Workspace(workspace).study(name)
    study = _write(workspace, fold, name=name, arms=arms, data=data)
    process = subprocess.Popen([_program(), "sweep", study, "--workspace", workspace])
    while not folder.manifest.exists():
        if process.poll() is not None:
            sys.exit(process.returncode)
        time.sleep(0.2)
    done = {(trial.seed, json.dumps(trial.params, sort_keys=True)) for trial in read_trials(folder)}
    for seed in SEEDS:
        for changes in arms.values():
            params = {**BASE, **changes}
            if (seed, json.dumps(params, sort_keys=True)) not in done:
                send(folder, Enqueue(params=params, seed=seed))
    if process.wait():
        sys.exit(process.returncode)


def _write(workspace: Path, fold: int, *, name: str, arms: Mapping[str, Mapping[str, Any]], data: str) -> Path:
    """The study's file and its space, in which each technique has its values of all arms."""
    values = {path: {json.dumps(arm.get(path, value)) for arm in arms.values()} for path, value in BASE.items()}
    lines = [f'"{path}" = {{ choices = [{", ".join(sorted(each))}] }}' for path, each in values.items()]
    path = workspace / f"{name}.toml"
    (workspace / f"{name}_space.toml").write_text("[space]\n" + "\n".join(lines) + "\n")
    path.write_text(STUDY.format(name=name, fold=fold, fixed=FIXED, data=data))
    return path


def table(workspace: Path, fold: int) -> str:
    """A row an arm: mean and sd over seeds, and the paired difference to the base with its 95 % interval."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for name, (_, arms) in studies_of(fold).items():
        found |= _values(workspace, name, arms)
    lines = [
        f"| fold {fold}: arm | n | accuracy | Cllr, bits | Cllr less the base's, 95 % interval |",
        "| --- | --- | --- | --- | --- |",
    ]
    for arm in found:
        seeds = [seed for seed in SEEDS if seed in found[arm]]
        accuracies, costs = ([found[arm][seed][place] for seed in seeds] for place in (0, 1))
        paired = [found[arm][seed][1] - found["base"][seed][1] for seed in seeds if seed in found["base"]]
        lines.append(f"| {arm} | {len(seeds)} | {_spread(accuracies)} | {_spread(costs)} | {_effect(arm, paired)} |")
    return "\n".join(lines)


def _values(
    workspace: Path, name: str, arms: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[int, tuple[float, float]]]:
    """Arm -> seed -> accuracy and calibrated Cllr at the best epoch."""
    study = load_study(name, tracking_uri=Workspace(workspace).tracking_uri)
    found: dict[str, dict[int, tuple[float, float]]] = {arm: {} for arm in arms}
    for trial in (each for each in study.trials if each.state is TrialState.COMPLETE):
        for arm, changes in arms.items():
            if trial.seed in SEEDS and all(trial.params[path] == value for path, value in {**BASE, **changes}.items()):
                found[arm][trial.seed] = (trial.metrics["best/accuracy"], trial.metrics["best/cllr_calibrated"])
    return found


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{fmean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def _effect(arm: str, paired: Sequence[float]) -> str:
    interval = t_interval(paired) if arm != "base" else None
    return "–" if interval is None else f"{fmean(paired):+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def cheap(workspace: Path, fold: int) -> str:
    """Means and deviations of cepstra into logistic regression: on a left-out source, and on a random split."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from lightning_modules.config import DataConfig, FeaturesConfig, LeaveSourceOutConfig
    from lightning_modules.data.feature_store import FeatureStore, feature_store_path
    from lightning_modules.data.prepared import open_corpus_of

    data = DataConfig(splits=LeaveSourceOutConfig(fold=fold))
    corpus = open_corpus_of(data, workspace)
    store = FeatureStore.open(feature_store_path(corpus, FeaturesConfig(), workspace))
    recordings = [each for each in corpus.recordings if each.language in data.languages and each.duration_s >= 1.0]
    x = np.stack([_statistics(store.frames(each.id).astype(np.float32)) for each in recordings])
    language = np.array([each.language for each in recordings])
    source = np.array([each.source for each in recordings])
    left_out = np.array([each.split == "test" for each in recordings])
    at_random = np.random.default_rng(0).random(len(recordings)) < 0.2
    lines = []
    for what, test, train in (
        ("left-out sources", left_out, np.array([each.split == "train" for each in recordings])),
        ("a random fifth of all recordings", at_random, ~at_random),
    ):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
        model.fit(x[train], language[train])
        guesses = model.predict(x[test])
        accuracy = fmean(float((guesses[language[test] == each] == each).mean()) for each in data.languages)
        p = ""
        if what == "left-out sources":
            test_of = permutation_p_value(language[test].tolist(), guesses.tolist(), source[test].tolist())
            p = f", p = {test_of.p_value:.3f}"
        speakers = len({each.speaker for each, is_test in zip(recordings, test, strict=True) if is_test})
        lines.append(f"fold {fold}, {what}: accuracy {accuracy:.3f}{p}; {speakers} speakers")
    return "\n".join(lines)


def _statistics(frames: np.ndarray) -> np.ndarray:
    """(40,): means and deviations of twenty cepstra (T, 40 bands) -> T x 20."""
    bands = np.arange(frames.shape[1])
    basis = np.cos(np.pi * (bands[:, None] + 0.5) * np.arange(20) / frames.shape[1])
    cepstra = frames @ basis
    return np.concatenate([cepstra.mean(axis=0), cepstra.std(axis=0)])


if __name__ == "__main__":
    main()
