"""The grammar of search spaces, what they suggest, and what they make of a base configuration."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from search_spaces import SPACES
from search_spaces.schema import leaves
from search_spaces.space import Space, Value, check_file, load_space, space_schema

CLIPPING = """
[space]
"clipping.max_norm" = { float = [0.05, 20.0], log = true, when = { "clipping.kind" = ["norm"] } }
"clipping.max_value" = { float = [0.001, 1.0], log = true, when = { "clipping.kind" = ["value"] } }
"clipping.kind" = { choices = ["none", "norm", "value"] }
"encoder.num_layers" = { int = [1, 5], step = 2 }
"""


class Recorder:
    """A trial that answers from a list, or with the first extreme, and keeps what it was asked."""

    def __init__(self, **answers: Value) -> None:
        self.answers = {path.replace("__", "."): value for path, value in answers.items()}
        self.asked: list[tuple[Any, ...]] = []

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked.append((name, *choices))
        return self.answers.get(name, choices[0])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.asked.append((name, low, high, step, log))
        return int(self.answers.get(name, low))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked.append((name, low, high, step, log))
        return float(self.answers.get(name, low))


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def clipping(tmp_path: Path) -> Space:
    return load_space(str(write(tmp_path, CLIPPING)))


BASES: dict[str, dict[str, Any]] = {
    "hierarchy": {"encoder": {"kind": "hierarchical"}},
    "decoding": {"task": {"kind": "sequence"}},
}
"""What a shipped space expects of the study that searches it."""


# --- the spaces that ship ---------------------------------------------------------------------------------------------


def test_every_file_beside_the_grammar_is_registered() -> None:
    folder = next(iter(SPACES.values())).parent
    assert {path.stem: path for path in folder.glob("*.toml")} == SPACES


@pytest.mark.parametrize("name", SPACES)
def test_shipped_spaces_are_valid(name: str) -> None:
    assert load_space(name).name == name
    assert check_file(SPACES[name]) == []


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31))
def test_whatever_optuna_draws_from_a_shipped_space_is_a_configuration(name: str, seed: int) -> None:
    space = load_space(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    params = space.suggest(study.ask())
    config = space.apply({"seed": 3} | BASES.get(name, {}), params).model_dump(mode="json")
    assert config["seed"] == 3
    for path, value in params.items():
        section: Any = config
        for part in path.split("."):
            section = section[part]
        assert section == value


def test_a_space_imports_neither_torch_nor_optuna() -> None:
    heavy = ("torch", "optuna", "mlflow", "pandas", "numpy")
    code = f"import sys, search_spaces.space; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- suggesting -------------------------------------------------------------------------------------------------------


def test_parameters_keep_the_order_of_the_file(clipping: Space) -> None:
    assert [p.path for p in clipping.parameters] == [
        "clipping.max_norm",
        "clipping.max_value",
        "clipping.kind",
        "encoder.num_layers",
    ]


def test_a_condition_is_asked_before_what_it_conditions(clipping: Space) -> None:
    trial = Recorder(clipping__kind="norm")
    assert clipping.suggest(trial) == {"clipping.kind": "norm", "clipping.max_norm": 0.05, "encoder.num_layers": 1}
    assert trial.asked == [
        ("clipping.kind", "none", "norm", "value"),
        ("clipping.max_norm", 0.05, 20.0, None, True),
        ("encoder.num_layers", 1, 5, 2, False),
    ]


def test_a_parameter_whose_condition_fails_is_not_asked_for(clipping: Space) -> None:
    assert clipping.suggest(Recorder()) == {"clipping.kind": "none", "encoder.num_layers": 1}


def test_a_parameter_below_one_that_does_not_exist_does_not_exist(tmp_path: Path) -> None:
    text = CLIPPING + '"encoder.cell" = { choices = ["gru", "lstm"], when = { "clipping.kind" = ["norm"] } }\n'
    text += '"encoder.hidden_size" = { choices = [8, 16], when = { "encoder.cell" = ["gru", "lstm"] } }\n'
    space = load_space(str(write(tmp_path, text)))
    assert "encoder.hidden_size" not in space.suggest(Recorder(clipping__kind="value"))
    assert "encoder.hidden_size" in space.suggest(Recorder(clipping__kind="norm"))


# --- applying ---------------------------------------------------------------------------------------------------------


CHAIN = """
[space]
"encoder.cell" = { choices = ["gru", "lstm"] }
"encoder.num_layers" = { choices = [1, 2], when = { "encoder.cell" = ["gru"] } }
"encoder.dropout" = { float = [0.0, 0.5], when = { "encoder.cell" = ["gru"], "encoder.num_layers" = [2] } }
"""


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"encoder.dropout": 0.25},
            'is "gru" and encoder.num_layers is 2: add "encoder.cell": "gru", "encoder.num_layers": 2.',
        ),
        ({"encoder.num_layers": 2}, 'encoder.num_layers exists only where encoder.cell is "gru": add "encoder.cell"'),
        ({"encoder.num_layers": 2, "encoder.cell": "lstm"}, "choose that, or leave encoder.num_layers out."),
    ],
)
def test_a_value_is_given_with_all_its_conditions(tmp_path: Path, chosen: dict[str, Value], message: str) -> None:
    space = load_space(str(write(tmp_path, CHAIN)))
    with pytest.raises(ConfigError, match=re.escape(message)):
        space.check_values(chosen)
    space.check_values({"encoder.dropout": 0.25, "encoder.cell": "gru", "encoder.num_layers": 2})


def test_applying_nothing_to_nothing_is_the_default(clipping: Space) -> None:
    assert clipping.apply({}, {}) == TrialConfig()


def test_another_kind_drops_the_fields_that_it_does_not_have(clipping: Space) -> None:
    base = {"clipping": {"kind": "norm", "max_norm": 5.0}, "optimizer": {"kind": "sgd", "momentum": 0.5}}
    config = clipping.apply(base, {"clipping.kind": "value", "clipping.max_value": 0.5})
    assert config.clipping.model_dump() == {"kind": "value", "max_value": 0.5}
    assert config.optimizer.model_dump() == {"kind": "sgd", "momentum": 0.5, "learning_rate": 1e-3}


def test_another_kind_keeps_the_fields_that_it_shares(clipping: Space) -> None:
    config = clipping.apply({"optimizer": {"kind": "sgd", "learning_rate": 0.5}}, {"optimizer.kind": "adam"})
    assert config.optimizer.model_dump() == {"kind": "adam", "learning_rate": 0.5}


def test_the_same_kind_keeps_the_base(clipping: Space) -> None:
    assert clipping.apply({"clipping": {"max_norm": 5.0}}, {"clipping.kind": "norm"}).clipping.model_dump() == {
        "kind": "norm",
        "max_norm": 5.0,
    }


def test_a_kind_that_is_a_plain_choice_drops_nothing(clipping: Space) -> None:
    config = clipping.apply({"pooling": {"dropout": 0.25}}, {"pooling.kind": "last"})
    assert config.pooling.model_dump() == {"kind": "last", "dropout": 0.25}


def test_applying_leaves_the_base_as_it_was(clipping: Space) -> None:
    base = TrialConfig().model_dump(mode="json")
    before = json.dumps(base)
    clipping.apply(base, {"clipping.kind": "value", "encoder.num_layers": 3})
    assert json.dumps(base) == before


@pytest.mark.parametrize(
    ("base", "params", "message"),
    [
        ({}, {"encoder.num_layers": 99}, r"encoder.num_layers: must be less than or equal to 8 \(got 99\)"),
        ({}, {"optimizer.momentum": 0.5}, "optimizer.momentum exists only under optimizer.kind = sgd"),
        (
            {"clipping": {"kind": "norm"}},
            {"clipping.max_norm": 0.0},
            "clipping.max_norm: must be greater than 0",
        ),
        (
            {"encoder": {"hiden_size": 3}},
            {},
            'encoder.hiden_size is no parameter of a configuration; near it: "encoder.hidden_size"',
        ),
        ({"data": {"minimum_s": 9.0}}, {}, "data: minimum_s must not exceed utterance_s"),
        ({"clipping": {"kind": "norms"}}, {}, "clipping: input tag 'norms'"),
    ],
)
def test_a_configuration_that_is_not_valid_names_its_key(
    clipping: Space, base: dict[str, Any], params: dict[str, Value], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        clipping.apply(base, params)


# --- identity ---------------------------------------------------------------------------------------------------------


def test_hash_ignores_comments_and_order_but_not_ranges(tmp_path: Path, clipping: Space) -> None:
    head, *lines = CLIPPING.strip().splitlines()
    reordered = "\n".join(["# a comment", head, *reversed(lines)])
    assert load_space(str(write(tmp_path, reordered))).hash == clipping.hash
    assert load_space(str(write(tmp_path, CLIPPING.replace("20.0", "10.0")))).hash != clipping.hash


def test_json_is_the_grammar_of_the_file(clipping: Space) -> None:
    assert json.loads(json.dumps(clipping.to_json()))["space"]["clipping.max_norm"] == {
        "float": [0.05, 20.0],
        "log": True,
        "when": {"clipping.kind": ["norm"]},
    }


def test_searched_parameters_are_the_fields_of_the_record(clipping: Space) -> None:
    from reports.records import SearchedParameter

    first, *_, last = (SearchedParameter(**fields) for fields in clipping.searched_parameters())
    assert first == SearchedParameter(
        path="clipping.max_norm", kind="float", low=0.05, high=20.0, log=True, when={"clipping.kind": ("norm",)}
    )
    assert last == SearchedParameter(path="encoder.num_layers", kind="int", low=1, high=5)


# --- what is refused --------------------------------------------------------------------------------------------------

LINES = [
    ('"encoder.hiden_size" = { choices = [8] }', "encoder.hiden_size", 'near it: "encoder.hidden_size"'),
    ('"nonsense" = { choices = [8] }', "nonsense", "its sections are data"),
    (
        '"encoder" = { choices = ["gru"] }',
        "encoder",
        'is a section; name one of its fields, the whole path in quotes: "encoder.',
    ),
    ('encoder.cell = { choices = ["gru"] }', "encoder", "the whole path in quotes"),
    ('"seed" = { int = [0, 9] }', "seed", "seed cannot be searched"),
    ('"data.languages" = { choices = ["en"] }', "data.languages", "holds a list"),
    ('"encoder.cell" = "gru"', "encoder.cell", "must be { choices"),
    ('"encoder.cell" = { }', "encoder.cell", "exactly one of choices, int, float but has none"),
    ('"encoder.num_layers" = { choices = [1], int = [1, 2] }', "encoder.num_layers", "but has choices, int"),
    (
        '"encoder.cell" = { choices = ["gru"], log = true }',
        "encoder.cell",
        "choices does not go with log; allowed: when",
    ),
    ('"encoder.cell" = { choices = [] }', "encoder.cell", "at least one value"),
    ('"encoder.cell" = { choices = ["gru", "gru"] }', "encoder.cell", "must differ"),
    ('"encoder.cell" = { choices = [["gru"]] }', "encoder.cell", "booleans, finite numbers and strings"),
    (
        '"encoder.cell" = { choices = ["gru", "transformer"] }',
        "encoder.cell",
        "'rnn_tanh', 'rnn_relu', 'gru' or 'lstm'",
    ),
    (
        '"encoder.hidden_size" = { choices = ["64"] }',
        "encoder.hidden_size",
        "cannot be '64': must be a whole number",
    ),
    ('"encoder.hidden_size" = { float = [8.0, 64.0] }', "encoder.hidden_size", "whole number"),
    ('"encoder.bidirectional" = { int = [0, 1] }', "encoder.bidirectional", "true or false"),
    (
        '"encoder.num_layers" = { int = [1, 9] }',
        "encoder.num_layers",
        "cannot be 9: must be less than or equal to 8",
    ),
    ('"encoder.num_layers" = { int = [0, 3] }', "encoder.num_layers", "cannot be 0"),
    ('"encoder.num_layers" = { int = [3, 1] }', "encoder.num_layers", "must rise"),
    ('"encoder.num_layers" = { int = [2, 2] }', "encoder.num_layers", "write choices = [2]"),
    ('"encoder.num_layers" = { int = [1.0, 2.0] }', "encoder.num_layers", "two whole numbers"),
    ('"encoder.num_layers" = { int = [1, 2, 3] }', "encoder.num_layers", "[low, high]"),
    ('"encoder.num_layers" = { int = [1, 4], step = 2 }', "encoder.num_layers", "step must divide"),
    ('"encoder.num_layers" = { int = [1, 4], step = 0 }', "encoder.num_layers", "step must be a positive whole number"),
    ('"encoder.num_layers" = { int = [1, 4], log = true, step = 1 }', "encoder.num_layers", "exclude each other"),
    ('"encoder.dropout" = { float = [0.0, 0.5], log = true }', "encoder.dropout", "low end above 0"),
    ('"encoder.dropout" = { float = [0.0, 0.5], log = 1 }', "encoder.dropout", "true or false"),
    ('"encoder.dropout" = { float = [0.0, 1.0] }', "encoder.dropout", "less than 1"),
    ('"optimizer.learning_rate" = { float = [0.1, inf] }', "optimizer.learning_rate", "two finite numbers"),
    (
        '"encoder.dropout" = { float = [0.0, 0.5], when = "lstm" }',
        "encoder.dropout",
        'when must be { "path" = [values] }',
    ),
    ('"encoder.dropout" = { float = [0.0, 0.5], when = { encoder.cell = ["gru"] } }', "encoder.dropout", "in quotes"),
]


@pytest.mark.parametrize(("line", "key", "message"), LINES)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, line: str, key: str, message: str) -> None:
    path = write(tmp_path, f"[space]\n{line}\n")
    [finding] = check_file(path)
    assert (finding.file, finding.key) == (str(path), key)
    assert message in finding.message
    with pytest.raises(ConfigError) as raised:
        load_space(str(path))
    assert str(raised.value) == str(finding)


@pytest.mark.parametrize(
    ("lines", "key", "message"),
    [
        (
            '"clipping.max_value" = { float = [0.1, 1.0], when = { "clipping.kind" = ["value"] } }',
            "clipping.max_value",
            'when on "clipping.kind", which this space does not search',
        ),
        (
            (
                '"clipping.kind" = { choices = ["none", "norm"] }\n"encoder.cell" = { choices = ["gru"], '
                'when = { "clipping.kind" = ["norms"] } }'
            ),
            "encoder.cell",
            "'norms', which is not among its choices: 'none', 'norm'",
        ),
        (
            (
                '"encoder.num_layers" = { int = [1, 3] }\n"encoder.dropout" = { float = [0.1, 0.5], '
                'when = { "encoder.num_layers" = [2, 3] } }'
            ),
            "encoder.dropout",
            "which is a range",
        ),
        (
            '"clipping.kind" = { choices = ["none", "norm"] }\n"clipping.max_norm" = { float = [0.1, 1.0] }',
            "clipping.max_norm",
            'does not exist under clipping.kind = none: write when = { "clipping.kind" = ["norm", "layer_norm"',
        ),
        (
            (
                '"encoder.cell" = { choices = ["gru", "lstm"] }\n"pooling.kind" = { choices = ["last", "mean"], '
                'when = { "encoder.cell" = ["gru"] } }\n"encoder.num_layers" = { int = [1, 2], '
                'when = { "encoder.cell" = ["lstm"], "pooling.kind" = ["last"] } }'
            ),
            "encoder.num_layers",
            "can never exist",
        ),
        (
            '"optimizer.momentum" = { float = [0.1, 0.5] }\n"optimizer.weight_decay" = { float = [0.1, 0.5] }',
            "optimizer.weight_decay",
            "optimizer.weight_decay exists only under optimizer.kind = adamw",
        ),
        (
            '"data.minimum_s" = { float = [1.0, 9.0] }\n"data.utterance_s" = { float = [5.0, 10.0] }',
            "data.minimum_s",
            "minimum_s must not exceed utterance_s",
        ),
    ],
)
def test_lines_that_do_not_go_together_are_named(tmp_path: Path, lines: str, key: str, message: str) -> None:
    findings = {finding.key: finding.message for finding in check_file(write(tmp_path, f"[space]\n{lines}\n"))}
    assert message in findings[key]


def test_conditions_in_a_circle_are_refused(tmp_path: Path) -> None:
    text = '[space]\n"encoder.cell" = { choices = ["gru"], when = { "pooling.kind" = ["last"] } }\n'
    text += '"pooling.kind" = { choices = ["last"], when = { "encoder.cell" = ["gru"] } }\n'
    with pytest.raises(ConfigError, match=r"circle among encoder\.cell, pooling\.kind"):
        load_space(str(write(tmp_path, text)))


def test_a_field_of_one_kind_may_be_searched_alone(tmp_path: Path) -> None:
    """The study's base says which kind it is."""
    space = load_space(str(write(tmp_path, '[space]\n"optimizer.momentum" = { float = [0.1, 0.9] }\n')))
    config = space.apply({"optimizer": {"kind": "sgd"}}, {"optimizer.momentum": 0.3})
    assert config.optimizer.model_dump()["momentum"] == 0.3


def test_a_condition_may_imply_the_kind(tmp_path: Path) -> None:
    text = CLIPPING + '"encoder.cell" = { choices = ["gru", "lstm"], when = { "clipping.kind" = ["norm"] } }\n'
    text = text.replace('log = true, when = { "clipping.kind" = ["norm"] }', 'when = { "encoder.cell" = ["gru"] }')
    assert check_file(write(tmp_path, text)) == []


def test_every_wrong_line_is_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, '[space]\n"a" = { choices = [1] }\n"encoder.cell" = { choices = ["x"] }\n')
    assert [finding.key for finding in check_file(path)] == ["a", "encoder.cell"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have one table, [space]"),
        ("[space]\n", "its [space] is empty"),
        ("[spaces]\n", "but has spaces"),
        ('[space]\n"seed" = { int = [0, 1] }\n[more]\n', "but has space, more"),
        ("[space\n", "is not TOML"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    [finding] = check_file(write(tmp_path, text))
    assert message in finding.message


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_space(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_space(str(tmp_path / "mine.toml"))


def test_an_unknown_name_lists_those_that_ship() -> None:
    with pytest.raises(
        ConfigError, match="no search space 'demmo'; those that ship: demo, architecture, architecture_clipping"
    ):
        load_space("demmo")


# --- the schema -------------------------------------------------------------------------------------------------------


def test_schema_names_every_path_that_can_be_searched() -> None:
    lines = space_schema()["properties"]["space"]["properties"]
    assert set(leaves()) - set(lines) == {"data.languages", "data.further_languages"}, "which hold lists"
    assert "Only with clipping.kind = norm or layer_norm." in lines["clipping.max_norm"]["description"]
    json.dumps(space_schema())


def test_schema_tells_ranges_and_choices() -> None:
    lines = space_schema()["properties"]["space"]["properties"]
    choices, whole = lines["encoder.num_layers"]["oneOf"]
    assert whole["properties"]["int"]["items"] == {"type": "integer", "minimum": 1, "maximum": 8}
    assert choices["properties"]["choices"]["items"] == {"type": "integer", "minimum": 1, "maximum": 8}
    [cells] = lines["encoder.cell"]["oneOf"]
    assert cells["properties"]["choices"]["items"]["enum"] == ["rnn_tanh", "rnn_relu", "gru", "lstm"]


def test_kinds_of_a_union_are_one_choice() -> None:
    assert leaves()["clipping.kind"].is_union
    assert not leaves()["encoder.cell"].is_union
    assert leaves()["clipping.max_norm"].kinds == {"clipping.kind": ("norm", "layer_norm")}
    assert leaves()["optimizer.learning_rate"].kinds == {}


def test_a_conflict_is_told_once_and_of_a_parameter_that_it_names(tmp_path: Path) -> None:
    lines = [
        '"schedule.kind" = { choices = ["constant", "cosine"] }',
        '"encoder.hidden_size" = { choices = [8, 16] }',
        '"training.bptt.kind" = { choices = ["full", "truncated"] }',
        '"optimizer.learning_rate" = { float = [0.001, 0.01] }',
    ]
    (finding,) = check_file(write(tmp_path, "[space]\n" + "\n".join(lines)))
    assert finding.key == "training.bptt.kind"
    assert "cannot be truncated in this space" in finding.message


def test_of_two_searched_parameters_that_conflict_it_is_told_how_to_search_both(tmp_path: Path) -> None:
    directions, windows = (
        '"encoder.bidirectional" = { choices = [true, false] }',
        '"training.bptt.kind" = { choices = ["full", "truncated"] }',
    )
    (finding,) = check_file(write(tmp_path, f"[space]\n{directions}\n{windows}"))
    assert finding.message.startswith("cannot be true in this space: training.bptt.kind truncated")
    assert finding.message.endswith(
        "Or search one of encoder.bidirectional and training.bptt.kind under a when on the other."
    )
    conditional = windows.replace(" }", ', when = { "encoder.bidirectional" = [false] } }')
    assert not check_file(write(tmp_path, f"[space]\n{directions}\n{conditional}"))
