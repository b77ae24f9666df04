"""Benchmarks are run by hand, seldom; that they still fit the code is seen here."""

import importlib
from pathlib import Path

import pytest

import benchmarks

FILES = sorted(path.stem for path in Path(benchmarks.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("name", FILES)
def test_a_benchmark_can_be_imported(name: str) -> None:
    assert importlib.import_module(f"benchmarks.{name}").__doc__, "which says how it is run"
