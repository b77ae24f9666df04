"""The first line of a sweep tells how many trials run at a time, wherever they run."""

from pathlib import Path

import pytest

from lightning_modules.errors import ConfigError
from study.commands.headline import headline
from study.plan import make_plan
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of


@pytest.mark.parametrize(
    ("launcher", "width"),
    [
        ('kind = "local"', "2 at a time with 1 thread each"),
        ('kind = "ray"', "as many at a time as fit on Ray with 1 thread each"),
        ('kind = "ray"\nslots = 8\ncpus_per_slot = 4', "up to 8 on Ray with 4 threads each"),
        ('kind = "slurm"\nslots = 8\ncpus = 4', "8 jobs at a time with 4 threads each"),
    ],
)
def test_it_tells_the_width_of_the_launcher(
    workspace: Path, tmp_path: Path, launcher: str, width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    study = write_tiny_study(tmp_path, changes=f"\n[launcher]\n{launcher}\n")
    line = headline(make_plan(config_of(study), workspace=Workspace(workspace), slots=2))
    assert line == f"study tiny: 4 trials of space tiny_space, {width}, on espeak (en, es, fr)"


def test_it_tells_of_processes_and_of_more_threads_than_cores(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    study, place = config_of(write_tiny_study(tmp_path)), Workspace(workspace)
    crowded = headline(make_plan(study, workspace=place, slots=4))
    assert ", 4 at a time with 1 thread each (more than the 2 cores can do at once), on espeak" in crowded
    ranks = headline(make_plan(study, workspace=place, slots=1, devices_per_trial=2))
    assert ", 1 at a time with 2 threads in 2 processes each, on espeak" in ranks
    with pytest.raises(ConfigError, match="9 processes, but there are 2 cores"):
        make_plan(study, workspace=place, devices_per_trial=9)


def test_it_tells_that_the_default_pruner_comes_too_late(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, epochs=2)
    text = study.read_text()
    study.write_text("\n".join(part for part in text.split("\n\n") if "[pruner]" not in part))
    assert headline(make_plan(config_of(study), workspace=Workspace(workspace))).endswith(
        "; trials are too short to be pruned"
    )
