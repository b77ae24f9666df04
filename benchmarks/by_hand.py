"""The study of benchmarks/overhead.py as a script by hand: Optuna and MLflow, and as many processes as slots.

    python -m benchmarks.by_hand WORK.json

It is written as well as such a script gets: torch, Lightning, Optuna and MLflow are imported once and the processes
are forked; they share Optuna's journal file, open the corpus once, and write a line a trial to nobody. What it leaves
out is the point: a trial that dies takes its process along, nothing is resumed, and there are no checkpoints.
"""

import argparse
import logging
import multiprocessing
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.work import EXPERIMENT, LEARNING_RATE, MAX_NORM, Work, experiment_id, fit_and_log, open_data

JOURNAL = "optuna.journal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    work = Work.model_validate_json(parser.parse_args().work.read_text())
    quiet()
    in_processes([(make_stores, work)])  # a database must not be made by two at once, nor be open across a fork
    shares = [len(range(slot, work.trials, work.slots)) for slot in range(work.slots)]
    in_processes([(run_share, work, slot, share) for slot, share in enumerate(shares)])


def in_processes(calls: list[tuple[Callable[..., None], *tuple[Any, ...]]]) -> None:
    """Forks a process for each call, and waits for all."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=function, args=arguments) for function, *arguments in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a process failed")


def make_stores(work: Work) -> None:
    (work.folder / "mlflow").mkdir(parents=True)
    mlflow.MlflowClient(work.tracking_uri).create_experiment(EXPERIMENT)
    optuna.create_study(storage=open_journal(work), study_name=EXPERIMENT)


def open_journal(work: Work) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(work.folder / JOURNAL)))


def run_share(work: Work, slot: int, num_trials: int) -> None:
    """One process's trials."""
    torch.set_num_threads(work.num_threads)
    client = mlflow.MlflowClient(work.tracking_uri)
    experiment = experiment_id(client)
    data = open_data(work)
    sampler = optuna.samplers.TPESampler(seed=work.seed + slot)

    def objective(trial: optuna.Trial) -> float:
        config = work.config(
            learning_rate=trial.suggest_float("learning_rate", *LEARNING_RATE, log=True),
            max_norm=trial.suggest_float("max_norm", *MAX_NORM, log=True),
        )
        epochs: list[float] = []

        def told(value: float) -> None:
            trial.report(value, len(epochs))
            epochs.append(value)

        return fit_and_log(config, data, client=client, experiment=experiment, told=told)

    study = optuna.load_study(storage=open_journal(work), study_name=EXPERIMENT, sampler=sampler)
    study.optimize(objective, n_trials=num_trials)


def quiet() -> None:
    """Nothing is said that a reader of the benchmark does not need."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in ("pytorch_lightning", "lightning.fabric", "mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
