"""What a study is on record as: written down when it is started, and compared with what is asked for later."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lightning_modules.config import content_hash
from lightning_modules.errors import ConfigError
from search_spaces.space import Space, space_from_json
from study.config import StudyConfig
from study.mlflow_place import recorded_mlflow
from study.plan import StudyPlan
from study.storage_config import JOURNAL, place_of
from study.urls import MASK
from study.workspace import StudyFolder, read_description, write_json


def settle(plan: StudyPlan, folder: StudyFolder) -> None:
    """Writes down what the study is, or checks that it is still the same; the search space alone may change.

    Raises:
        ConfigError: the study exists with another configuration, corpus or storage; names the first difference.
    """
    check_settled(plan, folder)
    record_plan(plan, folder)


def check_settled(plan: StudyPlan, folder: StudyFolder) -> None:
    """Refuses a plan that differs from the study that exists, if one does, in more than its search space.

    Raises:
        ConfigError: names the first difference.
    """
    if not folder.manifest.exists():
        return
    written = read_description(folder.manifest)
    before = {
        "config": _with_defaults(written["config"], plan.config),
        "data_hash": written["data_hash"],
        "optuna": written.get("optuna", JOURNAL),
    }
    for key, (old, new) in _differences(before, _settled(plan, folder)).items():
        raise ConfigError(
            f"study '{plan.config.name}' exists with {key} = {old!r}, now it is {new!r}; "
            "give the changed study another name, or change it back."
        )


def record_plan(plan: StudyPlan, folder: StudyFolder) -> None:
    """Writes down what the study is, and which search spaces it had, oldest first."""
    written = read_description(folder.manifest) if folder.manifest.exists() else {}
    spaces = written.get("spaces", [])
    if "space" in written and not spaces:
        spaces = [{"hash": content_hash(written["space"]), "space": written["space"]}]
    space = plan.space.to_json()
    if not spaces or spaces[-1]["hash"] != plan.space.hash:
        spaces.append({"hash": plan.space.hash, "space": space})
    content = {
        **_settled(plan, folder),
        "mlflow": recorded_mlflow(plan.mlflow_url, plan.workspace),  # may change: a study that moves is recorded again
        "space": space,
        "spaces": spaces,
        "given": plan.config.model_dump(mode="json", exclude_unset=True),
        "manifest": asdict(plan.manifest()),
    }
    write_json(folder.manifest, content, sync=True)  # nothing could stand in for it


def read_manifest(folder: StudyFolder) -> dict[str, Any]:
    """The description of a study that exists.

    Raises:
        StorageError: its file is broken.
    """
    manifest: dict[str, Any] = read_description(folder.manifest)["manifest"]
    return manifest


def recorded_study(folder: StudyFolder) -> tuple[StudyConfig, Space]:
    """Configuration and search space of a study that exists; a password that is not on record is the environment's.

    Raises:
        ConfigError: it holds single trainings, of which each is asked for by hand.
    """
    content = read_description(folder.manifest)
    refuse_single_trainings(folder)
    recorded = content["given"] if "given" in content else content["manifest"]["config"]
    recorded.get("trial", {}).pop("seed", None)
    storage = recorded.get("storage", {})
    recorded["storage"] = {key: url for key, url in storage.items() if url is not None and MASK not in url}
    config = StudyConfig.model_validate(recorded)
    return config, space_from_json(content["space"], name=Path(config.space).stem)


def refuse_single_trainings(folder: StudyFolder) -> None:
    """Nobody would take up what is queued there.

    Raises:
        ConfigError: the study was made by `lidstudy train`.
    """
    if read_manifest(folder)["num_trials"] == 0:
        raise ConfigError(
            f"study '{folder.root.name}' holds single trainings and has no search to go on with; train again with "
            "`lidstudy train CONFIG`, where CONFIG may be a trial's config.json."
        )


def _settled(plan: StudyPlan, folder: StudyFolder) -> dict[str, Any]:
    place = place_of(plan.config.storage, workspace=plan.workspace.root, journal=folder.journal)
    return {"config": plan.config.settled(), "data_hash": plan.data_hash, "optuna": place.recorded}


def _with_defaults(settled: dict[str, Any], config: StudyConfig) -> dict[str, Any]:
    """A configuration as an earlier version wrote it, with the keys that it did not know at their defaults."""
    trial = {key: value for key, value in settled["trial"].items() if key != "seed"}
    unsettled = {"trials": config.trials, "space": config.space}
    try:
        return StudyConfig.model_validate({**settled, **unsettled, "trial": trial}).settled()
    except ValidationError:
        return settled


def _differences(before: Any, now: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Path -> (before, now) of every leaf that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in [*before, *(key for key in now if key not in before)]:
            found |= _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        return found
    return {} if before == now else {path: (before, now)}
