"""A study's file: what is wrong is named by file and key."""

from pathlib import Path

import pytest

from lightning_modules.errors import ConfigError
from study.config import load_study_config, preset_names
from tests.conftest import write_tiny_study


def test_every_preset_is_valid() -> None:
    assert "demo" in preset_names()
    for name in preset_names():
        assert load_study_config(name).name == name


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown study 'nope'; presets: .*demo.*\.toml"):
        load_study_config("nope")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "[trial.encoder]\nhiden_size = 3\n",
            r"tiny\.toml: trial\.encoder\.hiden_size: .*did you mean hidden_size\?",
        ),
        ("[trial.encoder]\nhidden_size = 0\n", r"trial\.encoder\.hidden_size: .*greater than or equal to 1 \(got 0\)"),
        ("[trial.clipping]\nkind = 'norms'\n", r"trial\.clipping\.kind: there is no 'norms'; did you mean norm\?"),
        ("[trial.clipping]\nkind = 'norm'\nmax_nom = 1.0\n", r"trial\.clipping\.max_nom: .*did you mean max_norm\?"),
        ("[limits]\nsilence = 60.0\n", r"limits\.silence: .*did you mean silence_s\?"),
        (
            "[trial.clipping]\nmax_ratio = 0.1\n",
            r"trial\.clipping\.max_ratio: exists only with trial\.clipping\.kind = agc",
        ),
        ("[trial]\nseed = 3\n", r"trial\.seed is set by the study"),
        (
            "[trial.encoder]\nbidirectional = 'yes'\n",
            r'trial\.encoder\.bidirectional: must be true or false \(got "yes"\)',
        ),
        ("[trial.encoder]\nnum_layers = true\n", r"trial\.encoder\.num_layers: must be a whole number \(got true\)"),
        ("[trial.encoder\n", r"not valid TOML"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, change: str, message: str) -> None:
    path = write_tiny_study(tmp_path, changes=change)
    with pytest.raises(ConfigError, match=message):
        load_study_config(str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        load_study_config(str(tmp_path / "absent.toml"))


def test_the_space_lies_beside_the_study(tmp_path: Path) -> None:
    assert load_study_config(str(write_tiny_study(tmp_path))).space == str(tmp_path / "tiny_space.toml")


def test_the_budget_is_not_part_of_what_is_settled(tmp_path: Path) -> None:
    small = load_study_config(str(write_tiny_study(tmp_path, trials=3)))
    large = load_study_config(str(write_tiny_study(tmp_path, trials=30)))
    other = load_study_config(str(write_tiny_study(tmp_path, epochs=7)))
    assert small.settled() == large.settled()
    assert small.settled() != other.settled()
