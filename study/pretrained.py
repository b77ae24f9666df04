"""Trials that others begin with: checked beforehand, copied into the study that names them, and what they have heard.

A study keeps its own copy, so that it can go on, and be archived, whatever becomes of the study that trained it.
"""

import filecmp
import shutil
from collections.abc import Iterator, Sequence

from lightning_modules.config import FRESH, TrialConfig
from lightning_modules.data.manifest import Recording, Split
from lightning_modules.data.prepared import open_corpus_of
from lightning_modules.errors import ConfigError, CorpusError
from reports.records import TrialState
from search_spaces.space import Space
from study.workspace import StudyFolder, TrialFolder, Workspace, write_atomic

KEY = "training.pretrained"
ENCODER = "encoder."
DROPOUT = "dropout"


def named_in(config: TrialConfig, space: Space) -> tuple[str, ...]:
    """The trials that trials of a study may begin with, each once."""
    searched = next((parameter.choices for parameter in space.parameters if parameter.path == KEY), ())
    named = (*map(str, searched),) or (config.training.pretrained,)
    return tuple(trial for trial in dict.fromkeys(named) if trial != FRESH)


def check_pretrained(
    config: TrialConfig, space: Space, recordings: Sequence[Recording], *, workspace: Workspace, study: str
) -> None:
    """Refuses trials that cannot be begun with, and those that have heard what would be scored.

    Args:
        config: of the study's trials.
        space: what is searched.
        recordings: of the study's corpus, split as it says.
        workspace: where the trials lie.
        study: its name, for messages.

    Raises:
        ConfigError: no such complete trial, or one with another encoder.
        CorpusError: it was trained, or its best epoch chosen, on a source or speaker that would be scored.
    """
    for trial in named_in(config, space):
        place = f"study {study}, key trial.{KEY}: {trial}"
        found = find(trial, workspace, own=workspace.study(study))
        _check_encoder(_config(found), config, space, place=place)
        try:
            heard = list(heard_before(trial, workspace, own=workspace.study(study)))
        except CorpusError as error:
            raise CorpusError(f"{place}: {error}") from None
        _refuse_heard(heard, [each for each in recordings if each.split != "train"], place=place)


def keep_pretrained(config: TrialConfig, space: Space, *, workspace: Workspace, study: str) -> None:
    """Copies the trials that a study may begin with into its folder, with those that they began with.

    Raises:
        ConfigError: what is there under that name has been trained anew since.
    """
    folder = workspace.study(study)
    for named in named_in(config, space):
        for trial in _lineage(named, workspace, own=folder):
            _keep(trial, folder.pretrained(trial), workspace)


def heard_before(trial: str, workspace: Workspace, *, own: StudyFolder | None = None) -> Iterator[Recording]:
    """What a trial, and what it began with, was trained on and had its best epoch chosen by.

    Args:
        trial: as `STUDY/NUMBER`.
        workspace: where it lies.
        own: a study that may have a copy of it.
    """
    for each in _lineage(trial, workspace, own=own):
        config = _config(find(each, workspace, own=own))
        for recording in open_corpus_of(config.data, workspace.root).recordings:
            languages = config.data.trained_languages if recording.split == "train" else config.data.languages
            if recording.split != "test" and recording.language in languages:
                yield recording


def find(trial: str, workspace: Workspace, *, own: StudyFolder | None = None) -> TrialFolder:
    """A trial's own folder, or a copy that some study has kept of it.

    Raises:
        ConfigError: there is neither, or it is not complete.
    """
    from study.opening import read_trials  # imports Optuna, which most plans do without

    study, _, number = trial.partition("/")
    if study in workspace.study_names():
        state = next((each.state for each in read_trials(workspace.study(study)) if each.number == int(number)), None)
        if state is TrialState.COMPLETE:
            return workspace.study(study).trial(int(number))
        is_what = "there is no such trial" if state is None else f"that trial is {state.value}"
        raise ConfigError(f"{KEY} {trial!r}: {is_what}; name a complete one.")
    for folder in (own, *map(workspace.study, workspace.study_names())):
        if folder is not None and folder.pretrained(trial).config.exists():
            return folder.pretrained(trial)
    known = ", ".join(workspace.study_names()) or "none yet"
    raise ConfigError(f"{KEY} {trial!r}: there is no study {study!r} in {workspace.root}; studies there: {known}.")


def _config(folder: TrialFolder) -> TrialConfig:
    return TrialConfig.model_validate_json(folder.config.read_text(encoding="utf-8"))


def _lineage(trial: str, workspace: Workspace, *, own: StudyFolder | None) -> Iterator[str]:
    """The trial, what it began with, and so on."""
    while trial != FRESH:
        yield trial
        trial = _config(find(trial, workspace, own=own)).training.pretrained


def _keep(trial: str, copy: TrialFolder, workspace: Workspace) -> None:
    source = find(trial, workspace)
    if copy.config.exists():
        is_there = source.best_checkpoint.exists()
        if is_there and not filecmp.cmp(source.best_checkpoint, copy.best_checkpoint, shallow=False):
            raise ConfigError(
                f"{KEY} {trial!r} was trained anew since this study began with it; give the study another name, or "
                f"remove {source.root.parents[1]} to go on with the copy of before."
            )
        return
    copy.root.mkdir(parents=True, exist_ok=True)
    if source.best_checkpoint.exists():
        shutil.copyfile(source.best_checkpoint, copy.best_checkpoint)
    else:  # `lidstudy clean` leaves it to MLflow
        from study.mlflow_evaluations import EvaluatedTrial

        study, _, number = trial.partition("/")
        EvaluatedTrial(workspace, study, int(number)).fetch_checkpoint(copy.best_checkpoint)
    write_atomic(copy.config, source.config.read_bytes())  # last: a copy that has it is whole


def _check_encoder(theirs: TrialConfig, ours: TrialConfig, space: Space, *, place: str) -> None:
    """Weights of another shape could not be taken over; what is searched of it, only where nothing is."""
    of_them, of_us = (each.encoder.model_dump(mode="json", exclude={DROPOUT}) for each in (theirs, ours))
    if differing := [key for key in {**of_us, **of_them} if of_us.get(key) != of_them.get(key)]:
        key = differing[0]
        raise ConfigError(
            f"{place} has another encoder: {ENCODER}{key} is {of_them.get(key)!r} there and {of_us.get(key)!r} here."
        )
    sizes = [each.data.features.num_values for each in (theirs, ours)]
    if sizes[0] != sizes[1]:
        raise ConfigError(f"{place} reads {sizes[0]} values a frame, and this study's features have {sizes[1]}.")
    for parameter in space.parameters:
        is_of_encoder = parameter.path.startswith(ENCODER) and parameter.path != f"{ENCODER}{DROPOUT}"
        if is_of_encoder and set(parameter.when.get(KEY, ())) != {FRESH}:
            raise ConfigError(
                f"{place} has one encoder, but {parameter.path} is searched; leave it out of space {space.name}, or "
                f'search it only under when = {{ "{KEY}" = ["{FRESH}"] }}.'
            )


def _refuse_heard(heard: Sequence[Recording], scored: Sequence[Recording], *, place: str) -> None:
    """Development speech chose the other trial's best epoch, so that it may be this study's, but not its test's."""
    for what in ("source", "speaker"):
        splits: dict[str, set[Split]] = {}
        for each in heard:
            splits.setdefault(getattr(each, what), set()).add(each.split)
        for each in scored:
            if (known := splits.get(getattr(each, what), set())) and ("train" in known or each.split == "test"):
                raise CorpusError(
                    f"{place} was trained on {what} {getattr(each, what)!r}, which is in {each.split} here, so a score "
                    "would reward knowing it; begin with a trial that has not heard it."
                )
