"""The study of benchmarks/overhead.py with Ray Tune: OptunaSearch proposes, each trial is a Ray actor with one core.

    python -m benchmarks.with_ray_tune WORK.json

As Ray's documentation shows it, with actors of their own for each trial, which is Ray's default and isolates trials
from each other as `lidstudy` does. Trials log to MLflow themselves; Ray is told the objective after each epoch.
"""

import argparse
import logging
import os
import warnings
from pathlib import Path
from typing import Any

from benchmarks.work import EXPERIMENT, LEARNING_RATE, MAX_NORM, OBJECTIVE, Work, experiment_id, fit_and_log, open_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    work = Work.model_validate_json(parser.parse_args().work.read_text())
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "1"}
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # for Ray's workers
    warnings.simplefilter("ignore")
    make_experiment(work)
    run(work)


def make_experiment(work: Work) -> None:
    """Made by one process: two that make MLflow's database at once break it."""
    import mlflow

    logging.getLogger("alembic").setLevel(logging.ERROR)
    (work.folder / "mlflow").mkdir(parents=True)
    mlflow.MlflowClient(work.tracking_uri).create_experiment(EXPERIMENT)


def run(work: Work) -> None:
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    ray.init(num_cpus=work.slots, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, content=work.model_dump_json()), {"cpu": 1}),
        param_space={
            "learning_rate": tune.loguniform(*LEARNING_RATE),
            "max_norm": tune.loguniform(*MAX_NORM),
        },
        tune_config=tune.TuneConfig(
            metric=OBJECTIVE,
            mode="min",
            search_alg=OptunaSearch(seed=work.seed),
            num_samples=work.trials,
            max_concurrent_trials=work.slots,
        ),
        run_config=tune.RunConfig(name=EXPERIMENT, storage_path=str(work.folder / "ray"), verbose=0),
    )
    results = tuner.fit()
    if results.num_errors:
        raise SystemExit(f"{results.num_errors} trials failed: {results.errors[0]}")
    ray.shutdown()


def train(config: dict[str, Any], *, content: str) -> None:
    """One trial, in an actor of its own."""
    import mlflow
    import torch
    from ray import tune

    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    work = Work.model_validate_json(content)
    torch.set_num_threads(work.num_threads)
    client = mlflow.MlflowClient(work.tracking_uri)
    fit_and_log(
        work.config(**config),
        open_data(work),
        client=client,
        experiment=experiment_id(client),
        told=lambda value: tune.report({OBJECTIVE: value}),
    )


if __name__ == "__main__":
    main()
