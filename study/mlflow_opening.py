"""A study's records in MLflow, opened: found or created, and refused where they belong to another study."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from mlflow.entities import Dataset, DatasetInput, InputTag

from lightning_modules.errors import StorageError
from reports.records import ARTIFACT_STUDY, TAG_KIND, StudyManifest
from study.mlflow_runs import Runs
from study.mlflow_store import connect, find_experiment, open_experiment, open_parent_run, store_errors
from study.tracking import Tracker
from study.workspace import Workspace


def open_tracker(
    workspace: Workspace,
    manifest: StudyManifest,
    *,
    tags: Mapping[str, str],
    data_hash: str,
    url: str | None = None,
) -> Tracker:
    """The study's experiment and parent run, found or created, with the study's description and data set.

    Args:
        workspace: where the embedded store lies, and the artifacts of a database.
        manifest: the study's description.
        tags: tags of every run: commit, data hash.
        data_hash: the corpus's hash.
        url: MLflow's server or database; None for the embedded store.
    """
    client = connect(url or workspace.tracking_uri)
    dataset = _dataset(str(manifest.corpus["name"]), data_hash)
    with store_errors():
        runs = Runs(client, open_experiment(client, workspace, manifest.name))
        run_id = open_parent_run(client, runs.experiment_id, manifest, tags)
        client.log_inputs(run_id, [dataset])
    runs.log_artifacts(run_id, {ARTIFACT_STUDY: json.dumps(asdict(manifest), indent=1)})
    tracker = Tracker(
        runs,
        run_id=run_id,
        study=manifest.name,
        tags=tags,
        dataset=dataset,
        searched=manifest.parameters,
    )
    tracker.close_strays(is_ending=False)
    return tracker


def refuse_strangers(workspace: Workspace, name: str, *, url: str) -> None:
    """Refuses a new study whose name MLflow holds trials of: its files are gone, and its record must stay as it is.

    Raises:
        StorageError: naming the study.
    """
    experiment = find_experiment(url, name)
    if experiment is None:
        return
    runs = Runs(connect(url), experiment).search(f"tags.`{TAG_KIND}` = 'trial'")
    if num_runs := sum(1 for _ in runs):
        raise StorageError(
            f"MLflow holds {num_runs} run(s) of a study '{name}' whose files are no longer in "
            f"{workspace.study(name).root}; give the study another name, or put the files back."
        )


def _dataset(corpus: str, data_hash: str) -> DatasetInput:
    dataset = Dataset(name=corpus, digest=data_hash, source_type="lidstudy", source=json.dumps({"corpus": corpus}))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training and development")])
