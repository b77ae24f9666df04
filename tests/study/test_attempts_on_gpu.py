"""What attempts and sweeps do on a real GPU; the logic that needs none is tested in test_devices and test_attempt."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_modules.config import TrialConfig
from reports.records import PEAK_MEMORY_MB, parse_gradient_flow
from study.devices import Slot, find_gpus
from study.doctor.devices import look_at_devices
from study.events import Started, read_events
from study.launchers.local import LocalLauncher
from study.objectives import LatencyConfig
from study.spec import EVENTS_FILE, SPEC_FILE, AttemptSpec
from study.workspace import TrialFolder, Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import epochs_of, kill_forkserver, last_word, trials_of, weights_of

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(180)]

GPU = Slot(name="cuda0-0", devices=("cuda:0",))
MB = 1024 * 1024
LIDSTUDY = [sys.executable, "-c", "from study.cli import main; main()"]


SGD = {"kind": "sgd", "learning_rate": 0.05}
"""Whose steps differ by as little as the gradients do; Adam's are as long where a gradient is next to nothing."""


@pytest.fixture(scope="module", autouse=True)
def no_forkserver() -> None:
    """Ends that of another launcher, which was none of GPUs."""
    kill_forkserver()


@pytest.fixture
def launcher(workspace: Path) -> LocalLauncher:
    return LocalLauncher(Workspace(workspace), slots=[GPU])


def changed(config: TrialConfig, **parts: dict[str, Any]) -> TrialConfig:
    """The configuration with some keys of its parts replaced."""
    whole = config.model_dump(mode="json")
    return TrialConfig.model_validate(whole | {name: whole[name] | part for name, part in parts.items()})


def sgd(config: TrialConfig) -> TrialConfig:
    return TrialConfig.model_validate(config.model_dump(mode="json") | {"optimizer": SGD})


def test_the_doctor_finds_the_gpu_and_a_driver_that_serves_it(tmp_path: Path) -> None:
    assert find_gpus()[0].name == "cuda:0"
    findings = look_at_devices(tmp_path)
    assert [finding.name for finding in findings] == ["gpus", "torch", "driver"]
    assert all(not finding.mend for finding in findings)


def test_a_trial_on_a_gpu_trains_like_one_on_the_cpu_and_says_what_it_took(run: Callable[..., AttemptSpec]) -> None:
    config = sgd(run("first", slot=GPU).config)
    on_cpu, on_gpu = run("cpu", config=config), run("gpu", slot=GPU, config=config)
    assert last_word(on_gpu).outcome == "complete", last_word(on_gpu).traceback
    started = read_events(on_gpu.folder / EVENTS_FILE)[0]
    assert isinstance(started, Started)
    assert (started.device, started.visible_gpus, started.warm) == ("cuda:0", "0", True)
    for ours, theirs in zip(epochs_of(on_gpu), epochs_of(on_cpu), strict=True):
        assert ours.objective == pytest.approx(theirs.objective, abs=0.05)
        assert ours.metrics["train/loss"] == pytest.approx(theirs.metrics["train/loss"], rel=1e-2)
        assert ours.metrics[PEAK_MEMORY_MB] > 0.0
        assert set(theirs.metrics) == set(ours.metrics) - {PEAK_MEMORY_MB}
    assert np.allclose(weights_of(on_gpu), weights_of(on_cpu), atol=1e-3)


def test_a_trial_that_was_interrupted_goes_on_from_its_checkpoint(run: Callable[..., AttemptSpec]) -> None:
    whole = run("whole", slot=GPU, config=sgd(run("first", slot=GPU).config))
    first = run("resumed", slot=GPU, config=changed(whole.config, training={"max_epochs": 1}))
    second = run("resumed", slot=GPU, config=whole.config, attempt=1, folder=first.trial_folder / "attempt-1")
    assert [event.epoch for event in epochs_of(second)] == [0, 1]
    assert np.allclose(weights_of(second), weights_of(whole), atol=1e-3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_and_clips_what_single_precision_would(
    precision: str, run: Callable[..., AttemptSpec]
) -> None:
    plain = run("plain", slot=GPU)
    half = run("half", slot=GPU, config=changed(plain.config, training={"precision": precision}))
    assert last_word(half).outcome == "complete", last_word(half).traceback
    ours, theirs = epochs_of(half)[-1].metrics, epochs_of(plain)[-1].metrics
    assert ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=0.05)
    assert ours["grad/norm_q50"] == pytest.approx(theirs["grad/norm_q50"], rel=0.1)


@pytest.mark.parametrize("kind", ["labelling", "sequence"])
def test_the_other_tasks_train(kind: str, run: Callable[..., AttemptSpec]) -> None:
    config = run("first", slot=GPU).config
    switching = {"min_part_s": 0.5, "max_part_s": 1.5}
    spec = run(
        "task",
        slot=GPU,
        config=TrialConfig.model_validate(
            config.model_dump(mode="json") | {"task": {"kind": kind, "switching": switching}}
        ),
    )
    assert last_word(spec).outcome == "complete", last_word(spec).traceback


def test_states_over_time_and_latency_are_measured(run: Callable[..., AttemptSpec]) -> None:
    plain = run("plain", slot=GPU, config=sgd(run("first", slot=GPU).config))
    flow = {"gradient_flow": {"over_time": True}}
    spec = run(
        "watched",
        slot=GPU,
        config=changed(plain.config, training=flow),
        latency=LatencyConfig(utterance_s=1.0, passes=3),
    )
    assert last_word(spec).outcome == "complete", last_word(spec).traceback
    started = read_events(spec.folder / EVENTS_FILE)[0]
    assert isinstance(started, Started)
    assert started.latency_ms is not None
    curves = parse_gradient_flow(TrialFolder(spec.trial_folder).gradient_flow.read_text()).curves
    assert [curve.epochs_trained for curve in curves] == [0, 1, 2]
    assert all(min(values) > 0.0 for curve in curves for values in curve.norms.values())
    assert np.allclose(weights_of(spec), weights_of(plain), atol=1e-3)


@pytest.fixture
def crowded_gpu() -> Iterator[None]:
    """A GPU of which another process has left 4 GB."""
    code = (
        "import sys, torch; free, _ = torch.cuda.mem_get_info(); "
        f"held = torch.empty(free - 4096 * {MB}, dtype=torch.uint8, device='cuda'); "
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.communicate()


@pytest.mark.usefixtures("crowded_gpu")
def test_a_gpu_without_room_is_out_of_memory_and_a_part_of_the_batch_fits(run: Callable[..., AttemptSpec]) -> None:
    large = run("large", slot=GPU, batch_size=4000, hidden_size=2048)
    assert last_word(large).outcome == "out_of_memory", last_word(large).failure
    parts = run("parts", slot=GPU, batch_size=4000, hidden_size=2048, micro_batches=64)
    assert last_word(parts).outcome == "complete", last_word(parts).traceback


def test_a_sweep_puts_as_many_trials_on_a_gpu_as_the_first_ones_left_room_for(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=8, epochs=20, steps=20)
    command = [*LIDSTUDY, "sweep", str(study), "--workspace", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {trial.state.value for trial in trials_of(workspace)} == {"complete"}
    slots = [AttemptSpec.model_validate_json(path.read_text()).slot for path in workspace.rglob(SPEC_FILE)]
    assert {slot.devices for slot in slots} == {("cuda:0",)}
    assert len({slot.name for slot in slots}) > 1, "the first two trials left room for more"


def test_one_training_in_the_foreground_takes_the_gpu_and_a_dry_run_is_measured_on_it(
    workspace: Path, tmp_path: Path
) -> None:
    study = write_tiny_study(tmp_path)
    place = ["--workspace", str(workspace)]
    plan = [*LIDSTUDY, "sweep", str(study), "--dry-run"]
    planned = subprocess.run([*plan, *place], capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "a trial takes about" in planned.stdout
    trained = subprocess.run([*LIDSTUDY, "train", str(study), *place], capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    (events,) = workspace.rglob(EVENTS_FILE)
    started = read_events(events)[0]
    assert isinstance(started, Started)
    assert started.device == "cuda:0"
