"""One attempt: trains the module of a frozen configuration with Lightning and appends to its event log.

It never opens a database. After each epoch it writes an event, then the checkpoint; a new attempt goes on from the
last checkpoint and repeats at most the epoch whose event had just been written.
"""

import contextlib
import logging
import os
import resource
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import BadZipFile, ZipFile

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch.multiprocessing.spawn import ProcessRaisedException

from lightning_modules.build import begin_with, build_module
from lightning_modules.config import TrialConfig
from lightning_modules.data.batches import development_loader, training_loader
from lightning_modules.data.tasks import training_batches
from lightning_modules.errors import TrialError
from lightning_modules.latency import latency_ms
from lightning_modules.lid_module import Diverged, LidModule
from study.devices import Slot, let_see
from study.events import AnyEvent, Ended, EpochEnded, EventLog, Started
from study.gradient_flow import GradientsOverTime
from study.held_out import evaluate
from study.processes import data_bytes
from study.progress import TrialProgress, is_over
from study.spec import EVENTS_FILE, EXIT_STORAGE_FULL, AttemptSpec
from study.speech import Speech, open_speech
from study.workspace import STORAGE_ERRORS, TrialFolder

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = (MemoryError.__name__, torch.OutOfMemoryError.__name__)
PRECISION: Final[dict[str, Any]] = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What torch says, in a RuntimeError, where the system or a GPU's library refuses it memory."""
NO_SCRATCH = ("could not create a primitive", "could not execute a primitive")
"""What oneDNN says of any failure: under a limit of memory, that it was refused some."""


def run_attempt(
    spec: AttemptSpec, *, warm: bool, speech: Speech | None = None, watch: Callable[[AnyEvent], None] = lambda _: None
) -> int:
    """Works on a trial until it ends; returns the process's exit status.

    Whatever goes wrong becomes its last event; only a full disk is left to the exit status.

    Args:
        spec: what to do.
        warm: whether this process was forked from the warm server.
        speech: what the configuration names, if it is open already.
        watch: sees each event once it is written.
    """
    log = EventLog(spec.folder / EVENTS_FILE, watch=watch)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # it greets every trainer
    try:
        _take_slot(spec)
        ended = _train(spec, log, speech, warm=warm) if spec.purpose == "train" else evaluate(spec, log)
    except Exception as error:  # noqa: BLE001 - the attempt's edge
        if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
            logger.error("the workspace cannot be written: %s", error)  # noqa: TRY400 - the traceback says nothing more
            return EXIT_STORAGE_FULL
        ended = _ended_by(error, time_ms=log.now_ms(), is_limited=spec.memory_mb is not None)
    try:
        log.append(ended)
    except OSError:
        return EXIT_STORAGE_FULL
    return 0


def _take_slot(spec: AttemptSpec) -> None:
    """Keeps to the slot's share of the machine: its GPUs, threads and memory."""
    let_see(spec.slot)
    # Ranks are forked from this process: threads that it had started would hang them.
    torch.set_num_threads(1 if len(spec.slot.devices) > 1 else spec.slot.num_threads)
    if spec.memory_mb is not None:
        limit = data_bytes() + spec.memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _train(spec: AttemptSpec, log: EventLog, speech: Speech | None, *, warm: bool) -> Ended:
    config = spec.config
    speech = speech or open_speech(config, spec.workspace)
    num_ranks = len(spec.slot.devices)
    most = max(1, config.training.batch_size // num_ranks)  # or a part would be empty
    micro_batches = min(spec.micro_batches * config.training.accumulation, most)
    module = build_module(config, num_parts=micro_batches * num_ranks)
    module.development_speakers = [row.speaker for row in speech.development.rows]
    progress = TrialProgress(spec, log, utterances=speech.development.rows)
    resume_from = _whole(TrialFolder(spec.trial_folder).last_checkpoint)
    if resume_from is None and spec.checkpoint is not None:
        begin_with(module, spec.checkpoint)
    resumed = _resumed(resume_from, patience=config.training.patience)
    log.append(_started(spec, log, module, resumed_epoch=resumed.first_epoch, warm=warm))
    if resumed.last_event is not None:
        log.append(resumed.last_event)
    if resumed.has_stopped:
        return Ended(time_ms=log.now_ms(), outcome="complete")
    batches = training_batches(speech.recordings, store=speech.store, config=config)
    module.learn_prior(batches.prior_L)
    training = training_loader(
        batches,
        steps_per_epoch=config.training.steps_per_epoch,
        micro_batches=micro_batches,
        num_ranks=num_ranks,
    )
    callbacks: list[pl.Callback] = [progress]
    if config.training.gradient_flow.over_time:
        path = TrialFolder(spec.trial_folder).gradient_flow
        # Before the progress, so that no checkpoint is ahead of it.
        callbacks.insert(0, GradientsOverTime(path, batch=training.dataset[0, 0, 0], first_epoch=resumed.first_epoch))
    trainer = build_trainer(config, callbacks, folder=spec.folder, slot=spec.slot, micro_batches=micro_batches)
    trainer.fit(
        module,
        training,
        development_loader(speech.development.batches, num_ranks=num_ranks),
        ckpt_path=resume_from,
        weights_only=True,
    )
    return Ended(time_ms=log.now_ms(), outcome="complete")


def build_trainer(
    config: TrialConfig, callbacks: list[pl.Callback], *, folder: Path, slot: Slot, micro_batches: int = 1
) -> pl.Trainer:
    """A trainer on the slot's devices that prints, logs and saves nothing of its own.

    Raises:
        TrialError: the slot has a GPU, but torch finds none; or it has none, and float16 needs one.
    """
    num_ranks = len(slot.devices)
    _check_gpus(slot)
    _check_precision(config, slot)
    forked = DDPStrategy(start_method="fork", process_group_backend="nccl" if slot.gpus else "gloo")
    return pl.Trainer(
        accelerator="gpu" if slot.gpus else "cpu",
        precision=PRECISION[config.training.precision],
        devices=num_ranks,
        strategy=forked if num_ranks > 1 else "auto",
        plugins=[LightningEnvironment()],  # it would take a Slurm job's variables for its own ranks
        use_distributed_sampler=False,
        max_epochs=config.training.max_epochs,
        accumulate_grad_batches=micro_batches,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def _check_gpus(slot: Slot) -> None:
    if slot.gpus and not torch.cuda.is_available():
        raise TrialError(f"slot {slot.name} has {', '.join(slot.devices)}, but torch finds no GPU.")


def _check_precision(config: TrialConfig, slot: Slot) -> None:
    if config.training.precision == "float16" and not slot.gpus:
        raise TrialError(
            f"training.precision float16 needs a GPU, but slot {slot.name} has {', '.join(slot.devices)}; "
            "take bfloat16 or float32."
        )


def _latency_ms(spec: AttemptSpec, module: LidModule) -> float | None:
    """Milliseconds to score one utterance on the slot's device and threads, where the spec asks for that."""
    if spec.latency is None:
        return None
    _check_gpus(spec.slot)
    return latency_ms(
        module,
        utterance_s=spec.latency.utterance_s,
        num_passes=spec.latency.passes,
        device="cuda" if spec.slot.gpus else "cpu",
    )


def _ended_by(error: Exception, *, time_ms: int, is_limited: bool) -> Ended:
    """What an exception means for the trial; one that was raised in a rank arrives as the text of its traceback."""
    name, message = type(error).__name__, str(error)
    if isinstance(error, ProcessRaisedException):
        name, _, message = message.strip().splitlines()[-1].partition(": ")
        name = name.rpartition(".")[2]
    if name == Diverged.__name__:
        return Ended(time_ms=time_ms, outcome="diverged", failure=message)
    signs = (*NO_MEMORY, *NO_SCRATCH) if is_limited else NO_MEMORY
    is_refused = name == RuntimeError.__name__ and any(words in message for words in signs)
    return Ended(
        time_ms=time_ms,
        outcome="out_of_memory" if is_refused or name in OUT_OF_MEMORY else "failed",
        failure=f"{name}: {message}".splitlines()[0][:500],
        traceback=traceback.format_exc(),
    )


class Resumed(NamedTuple):
    """Where an attempt goes on.

    Attributes:
        first_epoch: the first that it trains.
        has_stopped: whether early stopping had its say in the one before.
        last_event: of the epoch before, as the checkpoint has it. It is said again, since a machine that went down may
            have kept the checkpoint and lost the last line of the log; who has it already passes over it.
    """

    first_epoch: int
    has_stopped: bool
    last_event: EpochEnded | None = None


def _whole(checkpoint: Path) -> Path | None:
    """The checkpoint, if all of it is there: no epoch waits for the disk, so that a power cut may leave a part."""
    if not checkpoint.exists():
        return None
    with contextlib.suppress(BadZipFile), ZipFile(checkpoint) as archive:
        if archive.testzip() is None:  # which compares checksums; torch would take zeros for weights
            return checkpoint
    logger.warning("%s cannot be read: the trial begins again, at epoch 0", checkpoint)
    return None


def _resumed(checkpoint: Path | None, *, patience: int | None) -> Resumed:
    if checkpoint is None:
        return Resumed(0, has_stopped=False)
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    last_epoch, progress = int(content["epoch"]), content["callbacks"][TrialProgress.__qualname__]
    return Resumed(
        last_epoch + 1,
        has_stopped=is_over(last_epoch, best_epoch=progress["best_epoch"], patience=patience),
        last_event=EpochEnded.model_validate_json(progress["last_event"]),
    )


def _started(spec: AttemptSpec, log: EventLog, module: LidModule, *, resumed_epoch: int, warm: bool) -> Started:
    latency = _latency_ms(spec, module)
    return Started(
        time_ms=log.now_ms(),
        pid=os.getpid(),
        host=socket.gethostname(),
        device="+".join(dict.fromkeys(spec.slot.devices)),
        num_threads=spec.slot.num_threads,
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        resumed_epoch=resumed_epoch,
        warm=warm,
        num_ranks=len(spec.slot.devices),
        micro_batches=spec.micro_batches,
        visible_gpus=os.environ.get("CUDA_VISIBLE_DEVICES"),
        latency_ms=latency,
    )
