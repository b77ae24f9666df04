"""Benchmarks are run by hand, seldom; that they still fit the code is seen here."""

import importlib
from pathlib import Path

import pytest

import benchmarks

FILES = sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("name", FILES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    assert importlib.import_module(f"benchmarks.{name}").__doc__, "which says how it is run"


def test_the_benchmark_of_optunas_storage_still_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It writes a study's files by itself, as the coordinator would."""
    from benchmarks.scale_optuna import measure

    measure(tmp_path, count=20, url=None)
    assert "random ask + tell" in capsys.readouterr().out
