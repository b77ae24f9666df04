"""A short form of `make chaos`: a study that is hurt at random ends as if nothing had happened."""

from pathlib import Path

import pytest

from tests.faults.chaos import Chaos

pytestmark = pytest.mark.timeout(600)


def test_a_study_that_is_hurt_at_random_loses_nothing(workspace: Path) -> None:
    chaos = Chaos(workspace, trials=6, seed=3)
    chaos.run(injuries=6)
    assert chaos.injuries.total() == 6
