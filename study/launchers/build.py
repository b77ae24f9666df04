"""From a LauncherConfig to the launcher; engines are imported only where they are asked for."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import assert_never

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from study.devices import Slot
from study.launchers._base import Launcher
from study.launchers.config import InlineConfig, LauncherConfig, LocalConfig, RayConfig, SlurmConfig
from study.launchers.inline import InlineLauncher
from study.launchers.local import LocalLauncher
from study.workspace import StudyFolder, Workspace

RAY_BEYOND_THIS_MACHINE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Read when ray is imported; "0" keeps all of a cluster to 127.0.0.1, on Linux too, whatever its name says."""


def build_launcher(
    config: LauncherConfig,
    *,
    workspace: Workspace,
    study: str,
    slots: Sequence[Slot],
    speech: TrialConfig | None = None,
) -> Launcher:
    """The launcher that a configuration asks for.

    Args:
        config: where attempts run.
        workspace: holds the study.
        study: its name; what runs on a cluster is found again by it.
        slots: of this machine, for `local`; clusters have their own.
        speech: names what attempts will train on, for `local` to open beforehand.

    Raises:
        ConfigError: the engine is not installed or cannot be reached.
    """
    match config:
        case LocalConfig():
            return LocalLauncher(workspace, slots=slots, speech=speech)
        case InlineConfig():
            return InlineLauncher()
        case RayConfig():
            if config.address is None:
                os.environ.setdefault(RAY_BEYOND_THIS_MACHINE, "0")
            with _needs("ray"):
                from study.launchers.ray import RayEngine
            from study.launchers.fleet import Fleet

            return Fleet(RayEngine(config, study=workspace.study(study)))
        case SlurmConfig():
            with _needs("slurm"):
                from study.launchers.slurm import SlurmLauncher

            return SlurmLauncher(config, study=workspace.study(study))
        case _:
            assert_never(config)


def check_launcher(config: LauncherConfig, study: StudyFolder) -> None:
    """What a configuration asks for is there; starts nothing, and does not look whether a cluster answers.

    Raises:
        ConfigError: the engine is not installed, or there is no Slurm on this machine.
    """
    if isinstance(config, RayConfig):
        with _needs("ray"):
            if importlib.util.find_spec("ray") is None:
                raise ModuleNotFoundError(name="ray")
    if isinstance(config, SlurmConfig):
        with _needs("slurm"):
            from study.launchers.slurm import SlurmLauncher

            SlurmLauncher(config, study=study)


@contextmanager
def _needs(extra: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--launcher {extra} needs {error.name}, which is not installed: pip install 'lidstudy[{extra}]'."
        ) from None
