"""Settings of the interpreter while the event loop runs."""

import gc
import sys

import pytest

from study.calm import calm


def test_threads_give_way_sooner_while_the_loop_runs() -> None:
    before = sys.getswitchinterval()
    with calm():
        assert sys.getswitchinterval() < before / 5
    assert sys.getswitchinterval() == before


def test_what_was_there_before_the_loop_is_not_collected() -> None:
    with calm():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_settings_are_put_back_after_an_error() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(RuntimeError, match="the loop"), calm():
        raise RuntimeError("the loop")
    assert (sys.getswitchinterval(), gc.get_freeze_count()) == (before, 0)
