"""What the docs show is valid: study files, search spaces, and commands that exist."""

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from lightning_modules.config.corpus import CorpusConfig
from lightning_modules.data.corpora import LAYOUTS
from search_spaces.space import load_space
from study.cli import app
from study.config import StudyConfig
from study.objectives import FurtherName, LatencyConfig
from study.pruner_config import PrunerConfig
from study.sampler_config import SamplerConfig
from study.storage_config import StorageConfig

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHOWN = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "study-files.md").read_text(), re.DOTALL)
SAMPLER_KINDS, PRUNER_KINDS = (
    {str(each.model_fields["kind"].default) for each in get_args(get_args(union)[0])}
    for union in (SamplerConfig, PrunerConfig)
)


def test_the_annotated_study_is_valid() -> None:
    assert StudyConfig.model_validate(tomllib.loads(SHOWN[0])).name == "pooling_on_my_phones"


def test_the_annotated_space_is_valid(tmp_path: Path) -> None:
    (tmp_path / "pooling.toml").write_text(SHOWN[1])
    assert len(load_space(str(tmp_path / "pooling.toml")).parameters) == 6


def test_the_storage_that_is_shown_is_valid() -> None:
    (shown,) = (tomllib.loads(text) for text in SHOWN if text.startswith("[storage]"))
    assert StorageConfig.model_validate(shown["storage"]).optuna is not None


def test_the_objectives_that_are_shown_go_together_and_the_defaults_are_those_of_the_code() -> None:
    (shown,) = (tomllib.loads(text) for text in SHOWN if "further_objectives" in text)
    study = StudyConfig.model_validate({"name": "shown", "space": "demo", "trials": 9, **shown})
    assert study.num_objectives == 3
    assert study.latency == LatencyConfig()


def test_every_objective_is_in_a_table() -> None:
    text = (ROOT / "docs" / "study-files.md").read_text().split("## Several objectives")[1].split("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(get_args(FurtherName))


@pytest.mark.parametrize("kinds", [SAMPLER_KINDS, PRUNER_KINDS])
def test_every_sampler_and_pruner_is_in_a_table(kinds: set[str]) -> None:
    text = (ROOT / "docs" / "study-files.md").read_text()
    assert kinds <= {
        kind for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for kind in re.findall(r"`(\w+)`", row)
    }


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    commands = set(re.findall(r"lidstudy ([a-z]+)\b", page.read_text()))
    known = set(getattr(get_command(app), "commands", {}))
    assert commands <= known


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_file_that_a_page_links_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_command_explains_itself() -> None:
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
    for name, command in getattr(get_command(app), "commands", {}).items():
        assert command.help or getattr(command, "commands", None), name


def test_the_corpus_file_of_the_docs_is_one_and_every_layout_is_listed() -> None:
    text = (ROOT / "docs" / "corpora.md").read_text()
    (example,) = re.findall(r"```\n(# voices\.toml\n.*?)```", text, re.DOTALL)
    assert CorpusConfig.model_validate(tomllib.loads(example)).name == "voices"
    table = text.split("## Layouts")[1].split("## Features")[0]
    kinds = re.findall(r"^\| `([a-z0-9_]+)` \|", table, re.MULTILINE)
    assert kinds == ["kind", *LAYOUTS]


def test_the_page_of_the_configuration_is_what_its_fields_say() -> None:
    path = ROOT / "docs" / "write_configuration.py"
    spec = importlib.util.spec_from_file_location("write_configuration", path)
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == writer.page(), "run `python docs/write_configuration.py`"
    assert not re.findall(r"\|  \|$", page, re.MULTILINE), "every key says what it means"
