"""The first line of a sweep tells how many trials run at a time, wherever they run."""

from pathlib import Path

import pytest

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
