"""Where Optuna keeps a study: the file decides, then the environment, and nothing relative leaves the workspace."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lightning_modules.errors import ConfigError
from study.config import load_study_config
from study.storage_config import OPTUNA_VARIABLE, Place, StorageConfig, place_of, recorded_place
from tests.conftest import write_tiny_study

JOURNAL = Path("/work/space/studies/mine/optuna.journal")
WORKSPACE = Path("/work/space")


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OPTUNA_VARIABLE, raising=False)


def place(url: str | None) -> Place:
    return place_of(StorageConfig(optuna=url), workspace=WORKSPACE, journal=JOURNAL)


def test_a_study_that_says_nothing_has_a_journal() -> None:
    assert place(None) == Place(None, JOURNAL)


def test_the_environment_is_asked_after_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTUNA_VARIABLE, "sqlite:///environment.db")
    assert place(None).url == "sqlite:////work/space/environment.db"
    assert place("sqlite:///file.db").url == "sqlite:////work/space/file.db"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("sqlite:///shared/o.db", "sqlite:////work/space/shared/o.db"),
        ("sqlite:///shared/../o.db", "sqlite:////work/space/o.db"),
        ("sqlite:////data/o.db", "sqlite:////data/o.db"),
        ("postgresql://ann:hush@db:5432/studies", "postgresql+psycopg://ann:hush@db:5432/studies"),
        ("postgres://ann@db/studies", "postgresql+psycopg://ann@db/studies"),
    ],
)
def test_urls_are_made_complete(url: str, found: str) -> None:
    assert place(url).url == found


@pytest.mark.parametrize("url", ["sqlite:///../o.db", "sqlite:///a/../../o.db"])
def test_a_relative_path_stays_in_the_workspace(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"key storage\.optuna: a relative path is inside the workspace"):
        place(url)
    monkeypatch.setenv(OPTUNA_VARIABLE, url)
    with pytest.raises(ConfigError, match=r"\$LIDSTUDY_OPTUNA_STORAGE: a relative path"):
        place(None)


def test_a_workspace_named_by_a_path_with_dots_holds_its_relative_paths() -> None:
    found = place_of(StorageConfig(optuna="sqlite:///o.db"), workspace=Path("/work/here/../space"), journal=JOURNAL)
    assert found.url == "sqlite:////work/space/o.db"


def test_a_wrong_url_is_named_without_its_password(tmp_path: Path) -> None:
    path = write_tiny_study(tmp_path)
    text = path.read_text()
    for url in ("mysql://ann:hush@db/studies", "postgresql://ann:hush hush@db/studies", "o.db"):
        path.write_text(text.replace("[sampler]", f'[storage]\noptuna = "{url}"\n[sampler]'))
        with pytest.raises(ConfigError, match=r"tiny\.toml: storage\.optuna: ") as told:
            load_study_config(str(path))
        assert "hush@" not in str(told.value)
        assert "ann:hush" not in str(told.value)


def test_a_wrong_url_from_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTUNA_VARIABLE, "redis://ann:hush@db")
    with pytest.raises(
        ConfigError, match=r"\$LIDSTUDY_OPTUNA_STORAGE: must be sqlite.* but is 'redis://ann:\*\*\*@db'"
    ):
        place(None)


def test_a_password_that_was_masked_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = place("postgresql://ann:hush@db/studies").recorded
    assert recorded == "postgresql+psycopg://ann:***@db/studies"
    without = recorded_place(recorded, workspace=WORKSPACE, journal=JOURNAL)
    assert without.url == "postgresql+psycopg://ann@db/studies"
    monkeypatch.setenv(OPTUNA_VARIABLE, "postgresql://ann:hush@db/studies")
    assert recorded_place(recorded, workspace=WORKSPACE, journal=JOURNAL).url == (
        "postgresql+psycopg://ann:hush@db/studies"
    )
    assert recorded_place("journal", workspace=WORKSPACE, journal=JOURNAL) == Place(None, JOURNAL)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="optuno"):
        StorageConfig.model_validate({"optuno": "sqlite:///o.db"})
