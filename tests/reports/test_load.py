import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.errors import StorageError
from reports import mlflow_tables
from reports import records as r
from reports.checks import seeds
from reports.load import load_study
from reports.records import StudyRecord, TrialState
from tests.reports.helpers import MakeStudy, MakeTrial

# SQLAlchemy 2.1 deprecates a loader that MLflow 3.17's own models use.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

WriteStudy = Callable[[StudyRecord, str], None]


def client_of(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def experiment_of(uri: str, name: str = "demo") -> str:
    return str(client_of(uri).get_experiment_by_name(name).experiment_id)


def run_of(uri: str, number: int) -> str:
    found = client_of(uri).search_runs([experiment_of(uri)], f"tags.`{r.TAG_NUMBER}` = '{number}'")
    return str(found[0].info.run_id)


def without_ids(study: StudyRecord) -> StudyRecord:
    """MLflow gives ids, and tags that the record does not hold."""
    trials = tuple(dataclasses.replace(trial, run_id="", tags={}) for trial in study.trials)
    return dataclasses.replace(study, run_id="", experiment_id="", trials=trials, tags={})


def test_a_study_is_read_as_it_was_written(demo: StudyRecord, tracking_uri: str, write_study: WriteStudy) -> None:
    write_study(demo, tracking_uri)
    read = load_study("demo", tracking_uri=tracking_uri)
    assert without_ids(read) == without_ids(demo)
    assert read.tags[r.TAG_COMMIT] == "0123abc"
    assert read.trials[0].tags[r.TAG_DEVICE] == "cpu"


def test_a_run_that_begins_while_runs_are_read_is_passed_over(
    demo: StudyRecord, tracking_uri: str, write_study: WriteStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each table is a query of its own, and a coordinator, or anybody else, opens runs between two."""
    write_study(demo, tracking_uri)
    query, client, experiment = mlflow_tables._rows, client_of(tracking_uri), experiment_of(tracking_uri)
    begun: list[str] = []

    def then_begin(*arguments: Any, **keywords: Any) -> Iterator[Any]:
        yield from query(*arguments, **keywords)
        if not begun:
            begun.append(client.create_run(experiment, tags={r.TAG_NUMBER: "99"}).info.run_id)
            client.log_metric(begun[0], "val/loss", 1.0)

    monkeypatch.setattr(mlflow_tables, "_rows", then_begin)
    found = mlflow_tables.runs_of(mlflow_tables.database_of(client), experiment)
    assert begun
    assert begun[0] not in {run.info.run_id for run in found}
    assert len(found) == len(demo.trials) + 1, "the study's own, and one a trial"


def test_non_finite_values_come_back(
    trial: MakeTrial, make_study: MakeStudy, tracking_uri: str, write_study: WriteStudy
) -> None:
    metrics = {"best/cllr": math.inf, "best/c_avg": -math.inf, "best/eer": math.nan}
    write_study(make_study(trial(0, metrics=metrics)), tracking_uri)
    found = load_study("demo", tracking_uri=tracking_uri).trials[0].metrics
    assert (found["best/cllr"], found["best/c_avg"]) == (math.inf, -math.inf)
    assert math.isnan(found["best/eer"])


def test_foreign_and_deleted_runs_are_passed_over(
    trial: MakeTrial, make_study: MakeStudy, tracking_uri: str, write_study: WriteStudy
) -> None:
    write_study(make_study(trial(0), trial(1), trial(2)), tracking_uri)
    client = client_of(tracking_uri)
    client.delete_run(run_of(tracking_uri, 1))
    experiment = experiment_of(tracking_uri)
    for tags in (
        {},
        {r.TAG_KIND: "trial", r.TAG_STUDY: "other", r.TAG_NUMBER: "5"},
        {r.TAG_KIND: "trial", r.TAG_STUDY: "demo"},
        {r.TAG_KIND: "attempt", r.TAG_STUDY: "demo", r.TAG_NUMBER: "1"},
        {r.TAG_KIND: "trial", r.TAG_STUDY: "demo", r.TAG_NUMBER: "7", "mlflow.parentRunId": "an older study"},
    ):
        client.create_run(experiment, tags=tags)
    assert [t.number for t in load_study("demo", tracking_uri=tracking_uri).trials] == [0, 2]


def test_an_evaluation_whose_run_was_removed_for_good_is_passed_over(
    demo: StudyRecord, tracking_uri: str, write_study: WriteStudy
) -> None:
    entry = dataclasses.replace(demo.ledger[0], corpus="prompts", run_id="0" * 32)
    write_study(dataclasses.replace(demo, ledger=(*demo.ledger, entry)), tracking_uri)
    assert load_study("demo", tracking_uri=tracking_uri).evaluations == ()


def test_a_trial_whose_configuration_is_not_on_record_is_no_replicate(
    demo: StudyRecord, tracking_uri: str, write_study: WriteStudy
) -> None:
    write_study(demo, tracking_uri)
    client = client_of(tracking_uri)
    for run in client.search_runs([experiment_of(tracking_uri)]):
        for tag in (r.TAG_CONFIGURATION, r.TAG_SEED):
            if tag in run.data.tags:
                client.delete_tag(run.info.run_id, tag)
    found = load_study("demo", tracking_uri=tracking_uri)
    assert len({each.configuration_hash for each in found.trials}) == len(found.trials)
    assert "has 1 seed" in seeds.CHECK.run(found).message


def test_a_number_with_two_runs_is_read_once(
    trial: MakeTrial, make_study: MakeStudy, tracking_uri: str, write_study: WriteStudy
) -> None:
    write_study(make_study(trial(0)), tracking_uri)
    tags = {r.TAG_KIND: "trial", r.TAG_STUDY: "demo", r.TAG_NUMBER: "0", r.TAG_STATE: "failed"}
    client_of(tracking_uri).create_run(experiment_of(tracking_uri), tags=tags, start_time=trial(0).start_ms + 1)
    found = load_study("demo", tracking_uri=tracking_uri).trials
    assert [t.state for t in found] == [TrialState.FAILED]


@pytest.mark.parametrize(
    ("status", "state"),
    [("RUNNING", TrialState.RUNNING), ("FINISHED", TrialState.COMPLETE), ("KILLED", TrialState.INTERRUPTED)],
)
def test_without_a_state_tag_the_status_speaks(
    make_study: MakeStudy, tracking_uri: str, write_study: WriteStudy, status: str, state: TrialState
) -> None:
    write_study(make_study(), tracking_uri)
    client = client_of(tracking_uri)
    tags = {r.TAG_KIND: "trial", r.TAG_STUDY: "demo", r.TAG_NUMBER: "0"}
    run = client.create_run(experiment_of(tracking_uri), tags=tags)
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    found = load_study("demo", tracking_uri=tracking_uri).trials[0]
    assert found.state is state
    assert (found.metrics, found.params, found.history, found.objective) == ({}, {}, {}, None)


def test_half_a_study_has_what_there_is(
    trial: MakeTrial, make_study: MakeStudy, tracking_uri: str, write_study: WriteStudy
) -> None:
    write_study(make_study(trial(0, TrialState.RUNNING)), tracking_uri)
    found = load_study("demo", tracking_uri=tracking_uri)
    assert (found.champion, found.scores_dev, found.scores_test, found.ledger) == (None, None, None, ())
    assert found.trials[0].end_ms is None


def test_an_unknown_study_is_answered_with_those_there_are(
    make_study: MakeStudy, tracking_uri: str, write_study: WriteStudy
) -> None:
    write_study(make_study(), tracking_uri)
    with pytest.raises(StorageError, match=r"no study named 'dmeo'.*Studies there: demo"):
        load_study("dmeo", tracking_uri=tracking_uri)


def test_without_its_description_a_study_is_not_read(
    make_study: MakeStudy, tracking_uri: str, write_study: WriteStudy, tmp_path: Path
) -> None:
    write_study(make_study(), tracking_uri)
    (manifest,) = tmp_path.glob("artifacts/**/study.json")
    manifest.write_text('{"name": "demo"}')
    with pytest.raises(StorageError, match=r"study\.json of the study 'demo' is not readable"):
        load_study("demo", tracking_uri=tracking_uri)
    manifest.unlink()
    with pytest.raises(StorageError, match=r"'demo' has no study\.json"):
        load_study("demo", tracking_uri=tracking_uri)


def test_an_absent_database_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with pytest.raises(StorageError, match="no MLflow database"):
        load_study("demo", tracking_uri=f"sqlite:///{path}")
    assert not path.exists()


def test_a_server_is_read_through_the_client_alone(
    trial: MakeTrial,
    make_study: MakeStudy,
    tracking_uri: str,
    write_study: WriteStudy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    study = make_study(trial(0), trial(1))
    write_study(study, tracking_uri)
    monkeypatch.delattr(SqlAlchemyStore, "get_metric_history_bulk")  # as in MLflow's store for servers
    assert without_ids(load_study("demo", tracking_uri=tracking_uri)) == without_ids(study)
