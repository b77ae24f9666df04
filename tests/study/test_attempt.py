"""An attempt's process: parts of a batch, ranks, memory, GPUs that are not there, and what it says of itself."""

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.config import RecurrentEncoderConfig, TrialConfig
from reports.records import FlowCurve, GradientFlow, TrialState, parse_gradient_flow
from study.devices import CPU, Slot
from study.events import AnyEvent, Started, read_events
from study.launchers.inline import InlineLauncher
from study.objectives import LatencyConfig
from study.spec import EVENTS_FILE, AttemptSpec
from study.workspace import TrialFolder, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, epochs_of, last_word, run_study, trials_of, weights_of

pytestmark = pytest.mark.timeout(180)


def check_same_training(spec: AttemptSpec, whole: AttemptSpec) -> None:
    assert last_word(spec).outcome == "complete"
    assert [event.epoch for event in epochs_of(spec)] == [0, 1]
    for ours, theirs in zip(epochs_of(spec), epochs_of(whole), strict=True):
        assert ours.objective == pytest.approx(theirs.objective, abs=1e-3)
        assert ours.metrics["grad/norm_before_clipping"] == pytest.approx(
            theirs.metrics["grad/norm_before_clipping"], rel=1e-3
        )
    assert np.allclose(weights_of(spec), weights_of(whole), atol=1e-4)


def test_an_attempt_whose_latency_was_measured_trains_like_one_whose_was_not(run: Callable[..., AttemptSpec]) -> None:
    plain = run("plain")
    measured = run("measured", latency=LatencyConfig(utterance_s=1.0, passes=2))
    assert [event.objective for event in epochs_of(measured)] == [event.objective for event in epochs_of(plain)]
    assert np.array_equal(weights_of(measured), weights_of(plain))
    started, other = (read_events(spec.folder / EVENTS_FILE)[0] for spec in (measured, plain))
    assert isinstance(started, Started)
    assert isinstance(other, Started)
    assert started.latency_ms is not None
    assert started.latency_ms > 0.0
    assert other.latency_ms is None


def test_half_batches_train_like_whole_ones(run: Callable[..., AttemptSpec]) -> None:
    whole = run("whole", batch_size=7)
    halves = run("halves", batch_size=7, micro_batches=2)
    check_same_training(halves, whole)
    started = read_events(halves.folder / EVENTS_FILE)[0]
    assert isinstance(started, Started)
    assert started.micro_batches == 2


@pytest.mark.parametrize("kind", ["labelling", "sequence"])
def test_half_batches_on_two_ranks_train_like_whole_ones_whatever_the_task(
    kind: str, run: Callable[..., AttemptSpec], tmp_path: Path
) -> None:
    config = config_of(write_tiny_study(tmp_path, epochs=2, steps=3)).trial.model_dump(mode="json")
    config["task"] = {"kind": kind, "switching": {"min_part_s": 0.5, "max_part_s": 1.5}}
    config["encoder"]["hidden_size"], config["training"]["batch_size"] = 16, 7
    trial = TrialConfig.model_validate(config)
    whole = run("whole", config=trial)
    slot = Slot(name="cpu-0", devices=(CPU, CPU), num_threads=2)
    check_same_training(run("parts", config=trial, slot=slot, micro_batches=2), whole)


def test_two_ranks_train_like_one_process_and_the_first_one_reports(run: Callable[..., AttemptSpec]) -> None:
    whole = run("whole", batch_size=7)
    ranks = run("ranks", batch_size=7, slot=Slot(name="cpu-0", devices=(CPU, CPU), num_threads=2))
    check_same_training(ranks, whole)
    for ours, theirs in zip(epochs_of(ranks), epochs_of(whole), strict=True):
        assert ours.metrics["train/loss"] == pytest.approx(theirs.metrics["train/loss"], rel=1e-3)
        assert ours.metrics["train/accuracy"] == pytest.approx(theirs.metrics["train/accuracy"], abs=0.1)
    started = read_events(ranks.folder / EVENTS_FILE)[0]
    assert isinstance(started, Started)
    assert started.num_ranks == 2


def test_a_trial_of_two_ranks_that_diverges_says_so_once(
    run: Callable[..., AttemptSpec], tmp_path: Path, workspace: Path
) -> None:
    config = config_of(write_tiny_study(tmp_path, epochs=2, steps=30)).trial.model_dump(mode="json")
    config |= {"optimizer": {"kind": "sgd", "learning_rate": 10.0}, "clipping": {"kind": "none"}}
    config["encoder"]["cell"] = "rnn_relu"
    config["encoder"]["hidden_size"] = 8
    ranks = run(
        "ranks",
        slot=Slot(name="cpu-0", devices=(CPU, CPU), num_threads=2),
        config=type(config_of(write_tiny_study(tmp_path)).trial).model_validate(config),
    )
    assert last_word(ranks).outcome == "diverged"
    assert "became" in last_word(ranks).failure


def test_an_attempt_that_runs_out_of_memory_says_so(run: Callable[..., AttemptSpec]) -> None:
    spec = run("large", memory_mb=300, batch_size=4000, hidden_size=256)
    assert last_word(spec).outcome == "out_of_memory", last_word(spec).failure
    roomy = run("roomy", memory_mb=4000)
    assert last_word(roomy).outcome == "complete", last_word(roomy).traceback


@pytest.mark.parametrize("memory_mb", [2, 10, 20])
def test_whatever_is_refused_memory_first_the_attempt_ran_out_of_it(
    run: Callable[..., AttemptSpec], memory_mb: int
) -> None:
    word = last_word(run("small", memory_mb=memory_mb, batch_size=64, hidden_size=64))
    assert word.outcome in ("out_of_memory", "complete"), word.traceback


def test_an_attempt_sees_the_gpus_of_its_slot_and_no_others(
    run: Callable[..., AttemptSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    spec = run("gpu", slot=Slot(name="cuda1-0", devices=("cuda:1",)))
    events = read_events(spec.folder / EVENTS_FILE)
    assert isinstance(events[0], Started)
    assert events[0].visible_gpus == "1"
    assert events[0].device == "cuda:1"
    if not torch.cuda.is_available():
        assert "slot cuda1-0 has cuda:1, but torch finds no GPU" in last_word(spec).failure
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2", "the coordinator's own environment stays as it is"


def test_an_attempt_in_float16_on_a_cpu_says_what_it_needs(run: Callable[..., AttemptSpec], tmp_path: Path) -> None:
    study = config_of(write_tiny_study(tmp_path, epochs=2, steps=3)).trial
    training = study.training.model_copy(update={"precision": "float16"})
    spec = run("half", config=study.model_copy(update={"training": training}))
    assert last_word(spec).outcome == "failed"
    assert "training.precision float16 needs a GPU, but slot cpu-0 has cpu" in last_word(spec).failure


def watching(spec: AttemptSpec, *, over_time: bool = True, epochs: int = 2) -> dict[str, object]:
    """The spec's configuration, with states watched over time."""
    training = spec.config.training
    flow = training.gradient_flow.model_copy(update={"over_time": over_time})
    training = training.model_copy(update={"gradient_flow": flow, "max_epochs": epochs})
    return {"config": spec.config.model_copy(update={"training": training})}


def test_watching_states_over_time_changes_no_training_and_leaves_a_file(run: Callable[..., AttemptSpec]) -> None:
    plain = run("plain")
    watched = run("watched", **watching(plain))
    assert np.array_equal(weights_of(watched), weights_of(plain))
    assert [event.objective for event in epochs_of(watched)] == [event.objective for event in epochs_of(plain)]
    curves = flow_of(watched).curves
    assert [curve.epochs_trained for curve in curves] == [0, 1, 2]
    encoder, data = plain.config.encoder, plain.config.data
    assert isinstance(encoder, RecurrentEncoderConfig)
    num_steps = -(-round(data.segment_s * data.features.frames_per_s) // encoder.frames_per_step)
    for curve in curves:
        assert list(curve.norms) == ["layer0/forward", "layer0/backward"]
        assert all(len(values) == num_steps and min(values) > 0.0 for values in curve.norms.values())
    assert len({curve.norms["layer0/forward"] for curve in curves}) == 3
    assert not TrialFolder(plain.trial_folder).gradient_flow.exists()


@pytest.mark.parametrize("left", ["all", "more", "nothing", "zeros"])
def test_states_over_time_go_on_where_an_attempt_left_off(run: Callable[..., AttemptSpec], left: str) -> None:
    """An attempt is killed after its first epoch, perhaps between its second measurement and its second checkpoint."""
    plain = run("plain")
    whole = flow_of(run("whole", **watching(plain))).curves
    first = run("resumed", **watching(plain, epochs=1))
    path, kept = TrialFolder(first.trial_folder).gradient_flow, flow_of(first).curves
    assert kept == whole[:2]
    unfinished = GradientFlow(curves=(*kept, FlowCurve(epochs_trained=2, norms={})))
    write_json(path, asdict(unfinished if left == "more" else GradientFlow(curves=kept)))
    if left == "zeros":
        path.write_bytes(b"\0" * 100)
    if left == "nothing":
        path.unlink()
    run("resumed", **watching(plain), attempt=1, folder=first.trial_folder / "attempt-1")
    assert flow_of(first).curves == (whole if left in ("all", "more") else whole[1:])


def flow_of(spec: AttemptSpec) -> GradientFlow:
    return parse_gradient_flow(TrialFolder(spec.trial_folder).gradient_flow.read_text())


def test_epochs_tell_what_each_development_source_costs(run: Callable[..., AttemptSpec]) -> None:
    spec = run("sources")
    costs = epochs_of(spec)[-1].sources
    assert set(costs) == {"espeak-en-c", "espeak-es-c", "espeak-fr-c"}
    assert all(0 < bits < 20 for bits in costs.values())


@pytest.mark.filterwarnings("error:.*(does not have many workers|LeafSpec)")
def test_what_another_thread_does_with_warnings_ends_no_training_here(workspace: Path, tmp_path: Path) -> None:
    """As where a figure of the trial before is drawn while this one trains."""
    is_drawing, has_begun, is_drawn = (threading.Event() for _ in range(3))

    def draw() -> None:
        with warnings.catch_warnings():
            is_drawing.set()
            has_begun.wait()
        is_drawn.set()

    def watch(event: AnyEvent) -> None:
        if isinstance(event, Started):  # before Lightning looks at the loaders and warns of their workers
            has_begun.set()
            is_drawn.wait()

    launcher = InlineLauncher(watch=watch)
    thread = threading.Thread(target=draw)
    thread.start()
    is_drawing.wait()
    run_study(write_tiny_study(tmp_path, trials=1), workspace, launcher=launcher)
    thread.join()
    assert [trial.state for trial in trials_of(workspace)] == [TrialState.COMPLETE]
