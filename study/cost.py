"""What a study will cost, measured. Imports torch, so it runs in a process of its own."""

import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lightning_modules.build import build_module
from lightning_modules.config import TrialConfig
from lightning_modules.data.conditions import MAX_UTTERANCES, Condition, Cut, cut, parse_condition
from lightning_modules.data.feature_store import MODELS, FeatureStore, feature_store_path
from lightning_modules.data.manifest import Recording
from lightning_modules.data.tasks import scored_speech, training_batches
from lightning_modules.latency import wait_for
from lightning_modules.optimizers import build_optimizer
from study.devices import let_see
from study.launchers.config import RayConfig, SlurmConfig
from study.plan import StudyPlan
from study.sampler_config import DesignConfig
from study.samplers import sample_params
from study.under_conditions import Speech, scores_of

NUM_SAMPLES = 6
NUM_STEPS = 4
NUM_SCORED = 10  # stretches of a language
ENOUGH_S = 30.0
BYTES_A_PARAMETER = 4
COPIES = 2 + 3  # best checkpoint, here and in MLflow; the last one has Adam's two moments beside the weights
ARTIFACTS_MB = 0.3


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds are means over the sampled configurations, of one slot at work.

    Attributes:
        closing_s: what scoring under the study's conditions takes in the end; 0.0 where it has none.
    """

    num_samples: int
    step_s: float
    development_s: float
    trial_s: float
    study_s: float
    closing_s: float
    disk_mb: float
    free_mb: float


def estimate_cost(plan: StudyPlan, *, num_trials: int) -> Cost:
    """Measures a few steps and a development pass of sampled configurations at the study's number of threads."""
    slot = plan.slots[0]
    torch.set_num_threads(slot.num_threads)
    let_see(slot)
    device = torch.device("cuda" if slot.gpus else "cpu")
    base = plan.config.trial.model_dump(mode="json")
    configs = [plan.space.apply(base, params) for params in _samples(plan)]
    measured = []
    started = time.monotonic()
    for config in configs:
        measured.append(_measure(plan, config, device))
        if time.monotonic() - started > ENOUGH_S:
            break  # large networks: fewer of them have to do
    step_s = statistics.mean(step for step, _, _ in measured)
    development_s = statistics.mean(development for _, development, _ in measured)
    trial_s = statistics.mean(
        config.training.max_epochs * (config.training.steps_per_epoch * step + development)
        for config, (step, development, _) in zip(configs, measured, strict=False)
    )
    num_rounds = -(-num_trials // _num_at_once(plan))
    size_mb = statistics.mean(size for _, _, size in measured) * BYTES_A_PARAMETER * COPIES / 1e6
    return Cost(
        num_samples=len(measured),
        step_s=step_s,
        development_s=development_s,
        trial_s=trial_s,
        study_s=num_rounds * trial_s,
        closing_s=_closing_s(plan, configs[0]) if plan.config.conditions else 0.0,
        disk_mb=num_trials * (size_mb + ARTIFACTS_MB),
        free_mb=shutil.disk_usage(plan.workspace.root).free / 1e6,
    )


def _closing_s(plan: StudyPlan, config: TrialConfig) -> float:
    """Development speech shows what a second of speech takes, from its audio on; test speech is only counted."""
    heard, scored = (tuple(each for each in plan.corpus.recordings if each.split == split) for split in ("dev", "test"))
    condition, sample = _sample(heard, config.data.languages)
    if not sample:
        return 0.0
    languages = sorted({each.language for each in scored})
    wanted_s = sum(
        each.row.duration_s
        for name in plan.config.conditions
        for each in cut(scored, parse_condition(name), languages=languages, max_utterances=MAX_UTTERANCES)
    )
    speech = Speech(
        heard, plan.corpus.root, np.zeros(1, np.float32), plan.workspace.root / MODELS, max_utterances=NUM_SCORED
    )
    started = time.perf_counter()
    scores_of(build_module(config).eval(), sample, condition, speech)
    took_s = time.perf_counter() - started
    choices = [each.choices for each in plan.space.parameters if each.path == plan.config.conditions_of]
    num_networks = len(choices[0] if choices else [None])
    return num_networks * wanted_s * took_s / sum(each.row.duration_s for each in sample)


def _sample(recordings: Sequence[Recording], languages: Sequence[str]) -> tuple[Condition, tuple[Cut, ...]]:
    """A few short stretches, or whole recordings where no speaker has three seconds."""
    for condition in (Condition(duration_s=3), Condition()):
        if found := cut(recordings, condition, languages=languages, max_utterances=NUM_SCORED):
            return condition, found
    return Condition(), ()


def _num_at_once(plan: StudyPlan) -> int:
    """Trials that keep each other from nothing; of a Ray cluster of unknown size, what this machine would take."""
    launcher = plan.config.launcher
    if isinstance(launcher, RayConfig | SlurmConfig) and launcher.slots and launcher.is_elsewhere:
        return launcher.slots
    return min(len(plan.slots), plan.num_cores)


def _samples(plan: StudyPlan) -> list[dict[str, Any]]:
    """Some configurations: of a design, arms spread evenly over it."""
    if not isinstance(plan.config.sampler, DesignConfig):
        return sample_params(plan.space, NUM_SAMPLES, seed=plan.config.seed)
    arms = plan.config.sampler.arms
    num_samples = min(NUM_SAMPLES, len(arms))
    return [arms[place * (len(arms) - 1) // max(1, num_samples - 1)].params for place in range(num_samples)]


def _measure(plan: StudyPlan, config: TrialConfig, device: torch.device) -> tuple[float, float, int]:
    """Seconds a step, seconds a development pass, and the number of parameters."""
    store = FeatureStore.open(feature_store_path(plan.corpus, config.data.features, plan.workspace.root))
    batches = training_batches(plan.corpus.recordings, store=store, config=config)
    module = build_module(config).to(device)
    optimizer = build_optimizer(config.optimizer, list(module.parameters()))
    durations: list[float] = []
    for step in range(NUM_STEPS):
        started = time.perf_counter()
        batch = module.transfer_batch_to_device(batches[0, step], device, 0)
        torch.autograd.backward(module.loss(batch).value)
        optimizer.step()
        optimizer.zero_grad()
        wait_for(device)
        durations.append(time.perf_counter() - started)
    started = time.perf_counter()
    development = scored_speech(plan.corpus.recordings, split="dev", store=store, config=config)
    module.eval()
    with torch.inference_mode():
        for batch in development.batches:
            module.score(module.transfer_batch_to_device(batch, device, 0))
    wait_for(device)
    size = sum(parameter.numel() for parameter in module.parameters())
    return statistics.median(durations), time.perf_counter() - started, size
