"""Designs of any number of levels."""

import pytest

from lightning_modules.errors import ConfigError
from search_spaces.designs import Factor, full_factorial, leave_one_out, one_at_a_time

CELL = Factor("cell", "gru", ("lstm", "rnn_tanh"))
CLIPPING = Factor("clipping", "norm", ("none",))


def test_one_at_a_time_changes_one_thing() -> None:
    assert one_at_a_time([CELL, CLIPPING]) == (
        {"cell": "gru", "clipping": "norm"},
        {"cell": "lstm", "clipping": "norm"},
        {"cell": "rnn_tanh", "clipping": "norm"},
        {"cell": "gru", "clipping": "none"},
    )


def test_leave_one_out_has_the_base_and_an_arm_a_component() -> None:
    noise = Factor("noise", base=True, others=(False,))
    assert leave_one_out([noise, CLIPPING]) == (
        {"noise": True, "clipping": "norm"},
        {"noise": False, "clipping": "norm"},
        {"noise": True, "clipping": "none"},
    )


def test_a_full_factorial_has_every_combination_and_the_base_first() -> None:
    assert full_factorial([CELL, CLIPPING]) == (
        {"cell": "gru", "clipping": "norm"},
        {"cell": "gru", "clipping": "none"},
        {"cell": "lstm", "clipping": "norm"},
        {"cell": "lstm", "clipping": "none"},
        {"cell": "rnn_tanh", "clipping": "norm"},
        {"cell": "rnn_tanh", "clipping": "none"},
    )
    with pytest.raises(ConfigError, match="factor cell is there twice"):
        full_factorial([CELL, CELL])


def test_a_component_is_there_or_left_out() -> None:
    with pytest.raises(ConfigError, match="one other level a factor but cell has 'lstm', 'rnn_tanh'"):
        leave_one_out([CELL])


def test_a_factor_without_another_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="cell has no level besides 'gru'"):
        Factor("cell", "gru", ())


def test_a_level_is_there_once_and_true_is_no_one() -> None:
    with pytest.raises(ConfigError, match="cell has a level twice: 'gru', 'lstm', 'gru'"):
        Factor("cell", "gru", ("lstm", "gru"))
    assert Factor("layers", 1, (True, 1.0)).levels == (1, True, 1.0)


def test_no_factors_or_one_that_is_there_twice_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one factor"):
        one_at_a_time([])
    with pytest.raises(ConfigError, match="factor cell is there twice"):
        one_at_a_time([CELL, CLIPPING, CELL])
