"""TrialConfig: what it refuses, what its hash sees, and that JSON keeps it whole."""

import hashlib
import json
import re
import subprocess
import sys
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lightning_modules.config import HierarchicalEncoderConfig, TrialConfig, content_hash, unread

# Every path of a TrialConfig, with a valid value that is not the default, and what else must be chosen for it to exist.
OTHER_VALUES: dict[str, Any] = {
    "data.corpus": "espeak",
    "data.languages": ["en", "fr"],
    "data.further_languages": ["cs"],
    "data.splits.kind": "leave_source_out",
    "data.splits.fold": 1,
    "data.features.kind": "kaldi",
    "data.features.cepstra": 7,
    "data.features.pitch": True,
    "data.features.dynamics.kind": "shifted",
    "data.features.dynamics.order": 1,
    "data.features.dynamics.window": 3,
    "data.features.dynamics.spread": 2,
    "data.features.dynamics.shift": 2,
    "data.features.dynamics.blocks": 5,
    "data.features.normalisation": "sliding",
    "data.features.sliding_s": 4.0,
    "data.features.model": "other",
    "data.features.layer": 7,
    "data.features.size": 17,
    "data.features.num_bands": 41,
    "data.features.window_ms": 26.0,
    "data.features.hop_ms": 11.0,
    "data.features.low_hz": 101.0,
    "data.features.high_hz": 3401.0,
    "data.segment_s": 2.5,
    "data.utterance_s": 8.5,
    "data.minimum_s": 4.5,
    "data.long_recordings": "cut",
    "data.max_utterances": 41,
    "augmentation.copies.noise": 0.5,
    "augmentation.copies.music": 0.5,
    "augmentation.copies.reverberation": 0.5,
    "augmentation.copies.telephone": 0.5,
    "augmentation.copies.pitch": 0.5,
    "augmentation.band_offset": 1.5,
    "augmentation.gain": 0.75,
    "augmentation.warp": 0.25,
    "augmentation.speed": 0.25,
    "augmentation.noise": 3.5,
    "augmentation.time_masks": 3,
    "augmentation.band_masks": 3,
    "data.long_segment_s": 3.0,
    "task.kind": "labelling",
    "task.switching.min_parts": 3,
    "task.switching.max_parts": 5,
    "task.switching.min_part_s": 1.25,
    "task.switching.max_part_s": 4.5,
    "task.decoder_size": 65,
    "task.attention": "dot",
    "task.teacher_share": 0.5,
    "encoder.kind": "tdnn",
    "encoder.initialisation": "uniform",
    "encoder.forget_bias": 2.0,
    "encoder.cell": "lstm",
    "encoder.num_layers": 2,
    "encoder.hidden_size": 65,
    "encoder.dropout": 0.5,
    "encoder.bidirectional": False,
    "encoder.frames_per_step": 4,
    "encoder.feedback.kind": "teacher_forcing",
    "encoder.feedback.final_share": 0.25,
    "encoder.low.cell": "lstm",
    "encoder.low.hidden_size": 65,
    "encoder.low.window": 21,
    "encoder.low.hop": 9,
    "encoder.middle.cell": "lstm",
    "encoder.middle.hidden_size": 65,
    "encoder.middle.window": 11,
    "encoder.middle.hop": 9,
    "encoder.top.cell": "lstm",
    "encoder.top.hidden_size": 65,
    "encoder.top.num_layers": 2,
    "encoder.top.bidirectional": False,
    "encoder.channels": 64,
    "encoder.output_channels": 65,
    "encoder.bottleneck": 65,
    "pooling.kind": "attention",
    "pooling.dropout": 0.5,
    "pooling.score": "dot",
    "pooling.num_heads": 2,
    "pooling.attention_size": 65,
    "head.kind": "by_duration",
    "head.border_s": 4.0,
    "reconstruction.kind": "gru",
    "reconstruction.weight": 0.2,
    "reconstruction.hidden_size": 65,
    "reconstruction.stride": 5,
    "optimizer.kind": "adamw",
    "optimizer.learning_rate": 2e-3,
    "optimizer.weight_decay": 2e-2,
    "optimizer.momentum": 0.5,
    "schedule.kind": "cosine",
    "schedule.warmup_steps": 10,
    "schedule.factor": 0.25,
    "schedule.patience": 3,
    "clipping.kind": "none",
    "clipping.max_norm": 2.0,
    "clipping.max_value": 0.2,
    "clipping.percentile": 20.0,
    "clipping.max_ratio": 0.04,
    "clipping.epsilon": 1e-2,
    "clipping.max_state_norm": 1e-3,
    "clipping.skip_above": 30.0,
    "training.max_epochs": 11,
    "training.steps_per_epoch": 41,
    "training.batch_size": 33,
    "training.patience": 3,
    "training.accumulation": 2,
    "training.label_smoothing": 0.1,
    "training.class_balance": "none",
    "training.source_exponent": 0.5,
    "training.precision": "bfloat16",
    "training.bptt.kind": "truncated",
    "training.bptt.frames": 50,
    "training.gradient_flow.every": 10,
    "training.gradient_flow.over_time": True,
    "training.pretrained": "espeak/3",
}
SHIFTED = {"data.features.dynamics.kind": "shifted"}
HIERARCHICAL = {"encoder.kind": "hierarchical"}
SCHEDULED = {"encoder.kind": "output_recurrent", "encoder.feedback.kind": "scheduled_sampling"}
BY_DURATION = {"head.kind": "by_duration", "data.long_segment_s": 8.0}
SELF_SUPERVISED = {
    "data.features.kind": "self_supervised",
    "data.features.model": "some",
    "data.features.size": 16,
    **{f"augmentation.{name}": 0 for name in ("band_offset", "gain", "warp", "noise", "band_masks")},
    "data.features.hop_ms": 20.0,
}
NEEDED: dict[str, dict[str, Any]] = {
    **{f"data.features.{name}": SELF_SUPERVISED for name in ("model", "layer", "size")},
    **{path: {"task.kind": "labelling"} for path in OTHER_VALUES if path.startswith("task.switching.")},
    **{f"task.{name}": {"task.kind": "sequence"} for name in ("decoder_size", "attention", "teacher_share")},
    "encoder.feedback.kind": {"encoder.kind": "output_recurrent"},
    "encoder.feedback.final_share": SCHEDULED,
    **{path: HIERARCHICAL for path in OTHER_VALUES if re.match(r"encoder\.(low|middle|top)\.", path)},
    **{path: {"encoder.kind": "ecapa_tdnn"} for path in ("encoder.channels", "encoder.output_channels")},
    "encoder.bottleneck": {"encoder.kind": "ecapa_tdnn"},
    "pooling.score": {"pooling.kind": "attention"},
    "pooling.num_heads": {"pooling.kind": "multi_head"},
    "pooling.attention_size": {"pooling.kind": "attentive_statistics"},
    "head.kind": {"data.long_segment_s": 8.0},
    "head.border_s": BY_DURATION,
    **{f"reconstruction.{name}": {"reconstruction.kind": "gru"} for name in ("weight", "hidden_size", "stride")},
    "optimizer.weight_decay": {"optimizer.kind": "adamw"},
    "optimizer.momentum": {"optimizer.kind": "sgd"},
    "schedule.factor": {"schedule.kind": "plateau"},
    "schedule.patience": {"schedule.kind": "plateau"},
    "clipping.max_value": {"clipping.kind": "value"},
    "clipping.percentile": {"clipping.kind": "autoclip"},
    "clipping.max_ratio": {"clipping.kind": "agc"},
    "clipping.epsilon": {"clipping.kind": "agc"},
    "clipping.max_state_norm": {"clipping.kind": "recurrent"},
    "clipping.skip_above": {"clipping.kind": "skip"},
    "data.splits.fold": {"data.splits.kind": "leave_source_out"},
    **{f"data.features.dynamics.{name}": {"data.features.dynamics.kind": "deltas"} for name in ("order", "window")},
    **{f"data.features.dynamics.{name}": SHIFTED for name in ("spread", "shift", "blocks")},
    "training.bptt.kind": {"encoder.bidirectional": False},
    "training.bptt.frames": {"encoder.bidirectional": False, "training.bptt.kind": "truncated"},
}
SEGMENTS = ("data.segment_s", "data.long_segment_s")
ONLY_ONE_VALUE = {"data.features.sample_rate_hz"}
UNIONS = (
    "data.splits",
    "data.features.dynamics",
    "task",
    "encoder",
    "pooling",
    "head",
    "reconstruction",
    "optimizer",
    "schedule",
    "clipping",
    "training.bptt",
)


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """{"encoder.cell": "gru"} -> {"encoder": {"cell": "gru"}}."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def make(flat: dict[str, Any]) -> TrialConfig:
    """With the default kind of each section of which something is said."""
    default = TrialConfig()
    kinds = {
        f"{section}.kind": attrgetter(f"{section}.kind")(default)
        for section in UNIONS
        if any(path.startswith(f"{section}.") for path in flat)
    }
    return TrialConfig.model_validate(nested(kinds | flat))


def paths_of(tree: dict[str, Any], prefix: str = "") -> set[str]:
    paths: set[str] = set()
    for name, value in tree.items():
        paths |= paths_of(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return paths


@st.composite
def configs(draw: st.DrawFn) -> TrialConfig:
    """Configurations with some values changed."""
    free = sorted(path for path in OTHER_VALUES if path not in NEEDED and not path.endswith(".kind"))
    chosen = draw(st.lists(st.sampled_from(free), unique=True))
    floats = st.floats(1e-6, 0.5)
    flat = {path: OTHER_VALUES[path] for path in chosen if not path.startswith(("optimizer.", "clipping."))}
    optimizer = draw(st.sampled_from(["adam", "adamw", "sgd"]))
    flat |= {"optimizer.kind": optimizer, "optimizer.learning_rate": draw(floats)}
    extra = {"none": {}, "norm": {"clipping.max_norm": draw(floats)}, "value": {"clipping.max_value": draw(floats)}}
    clipping = draw(st.sampled_from(sorted(extra)))
    return make(flat | {"clipping.kind": clipping, "seed": draw(st.integers(0, 2**32 - 1))} | extra[clipping])


# --- records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part", ["", "data", "data.features", "augmentation", "encoder", "pooling", "optimizer", "clipping", "training"]
)
def test_no_part_can_be_changed(part: str) -> None:
    record: Any = TrialConfig()
    for name in part.split(".") if part else []:
        record = getattr(record, name)
    field = next(iter(type(record).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, field, getattr(record, field))


@pytest.mark.parametrize(
    "path",
    [
        "lerning_rate",
        "data.langauges",
        "data.features.bands",
        "augmentation.echo",
        "encoder.cells",
        "pooling.heads",
        "training.epochs",
    ],
)
def test_an_unknown_field_is_refused_by_its_name(path: str) -> None:
    *section, name = path.split(".")
    place = "".join(rf"{part}\.(?:\w+\.)?" for part in section)  # a union adds its kind
    with pytest.raises(ValidationError, match=rf"{place}{name}\s+Extra inputs are not permitted"):
        make({path: 1})


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ({"clipping.kind": "none"}, "clipping.max_norm"),
        ({"clipping.kind": "value"}, "clipping.max_norm"),
        ({"clipping.kind": "norm"}, "clipping.max_value"),
        ({"optimizer.kind": "adam"}, "optimizer.weight_decay"),
        ({"optimizer.kind": "sgd"}, "optimizer.weight_decay"),
        ({"optimizer.kind": "adamw"}, "optimizer.momentum"),
    ],
)
def test_a_field_of_another_kind_is_refused(kind: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        TrialConfig.model_validate(nested({**kind, field: 0.5}))


@given(config=configs())
@settings(max_examples=50)
def test_json_keeps_a_configuration_whole(config: TrialConfig) -> None:
    again = TrialConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.configuration_hash() == config.configuration_hash()


def test_reading_configurations_imports_no_torch() -> None:
    check = "import sys, lightning_modules.config; sys.exit(int('torch' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


# --- hash -------------------------------------------------------------------------------------------------------------


def test_the_list_of_paths_below_is_complete() -> None:
    variants = [TrialConfig(), *(make(needed) for needed in NEEDED.values())]
    known = set().union(*(paths_of(config.model_dump()) for config in variants))
    assert known == {*OTHER_VALUES, *ONLY_ONE_VALUE, "seed"}


@pytest.mark.parametrize("path", OTHER_VALUES)
def test_the_hash_depends_on_each_value(path: str) -> None:
    needed = NEEDED.get(path, {})
    assert make(needed | {path: OTHER_VALUES[path]}).configuration_hash() != make(needed).configuration_hash()


@given(config=configs(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_replicates_share_their_hash(config: TrialConfig, seed: int) -> None:
    assert config.model_copy(update={"seed": seed}).configuration_hash() == config.configuration_hash()


def test_the_order_of_languages_is_part_of_a_configuration() -> None:
    one, other = (make({"data.languages": languages}) for languages in (["en", "fr"], ["fr", "en"]))
    assert one.configuration_hash() != other.configuration_hash()


def test_a_whole_number_hashes_as_the_float_that_it_stands_for() -> None:
    assert make({"data.segment_s": 3}).configuration_hash() == make({"data.segment_s": 3.0}).configuration_hash()


def test_the_hash_is_that_of_canonical_json() -> None:
    text = '{"a":[1,2.5],"ü":null}'
    assert content_hash({"ü": None, "a": (1, 2.5)}) == hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize("kind", ["tdnn", "ecapa_tdnn"])
def test_batches_of_an_encoder_that_normalises_over_them_are_not_cut(kind: str) -> None:
    assert make({"encoder.kind": kind}).has_batch_norm
    with pytest.raises(ValidationError, match=r"accumulation changes what encoder\.kind"):
        make({"encoder.kind": kind, "training.accumulation": 2})


def test_a_hierarchy_whose_top_level_would_see_one_step_is_refused() -> None:
    assert make({"encoder.kind": "hierarchical", "data.segment_s": 1.2}).encoder.kind == "hierarchical"
    with pytest.raises(ValidationError, match=r"data.segment_s \(1.1 s\) gives the top level .* one step"):
        make({"encoder.kind": "hierarchical", "data.segment_s": 1.1})


def test_a_level_s_size_alone_leaves_its_window_as_the_paper_has_it() -> None:
    encoder = make({"encoder.kind": "hierarchical", "encoder.middle.hidden_size": 32}).encoder
    assert isinstance(encoder, HierarchicalEncoderConfig)
    assert (encoder.middle.hidden_size, encoder.middle.window, encoder.middle.hop) == (32, 10, 10)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"data.features.low_hz": 3400.0}, "low_hz must be below high_hz but got 3400.0 and 3400.0."),
        ({"data.features.hop_ms": 30.0}, "hop_ms must not exceed window_ms but got 30.0 and 25.0."),
        ({"data.features.hop_ms": 12.34}, "hop_ms must be whole samples, multiples of 0.125, but is 12.34."),
        ({"data.languages": ["en", "fr", "en"]}, "languages must be named once each but got en, fr, en."),
        ({"training.pretrained": "espeak"}, "must be none, or a trial of the workspace as STUDY/NUMBER"),
        ({"data.languages": ["en", "fr"], "data.further_languages": ["cs", "en"]}, "once each but got en, fr, cs, en."),
        (
            {"task.kind": "labelling", "data.further_languages": ["cs"]},
            "data.further_languages are for task.kind classification; got labelling.",
        ),
        ({"data.languages": ["en"]}, "at least two languages are needed"),
        ({"data.languages": []}, "at least two languages are needed"),
        ({"data.minimum_s": 9.0}, "minimum_s must not exceed utterance_s but got 9.0 and 8.0."),
    ],
)
def test_values_that_contradict_each_other_are_refused(flat: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        make(flat)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.features.sample_rate_hz", 16000),
        ("data.features.num_bands", 7),
        ("data.features.num_bands", 129),
        ("data.features.high_hz", 4001.0),
        ("data.features.low_hz", -1.0),
        ("data.segment_s", 0.1),
        ("data.segment_s", 61.0),
        ("data.max_utterances", 0),
        ("augmentation.noise", -0.1),
        ("augmentation.time_masks", 11),
        ("encoder.num_layers", 0),
        ("encoder.hidden_size", 2049),
        ("encoder.dropout", 1.0),
        ("encoder.frames_per_step", 0),
        ("optimizer.learning_rate", 0.0),
        ("clipping.max_norm", 0.0),
        ("clipping.max_norm", float("inf")),
        ("optimizer.learning_rate", float("nan")),
        ("training.patience", 0),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_path(path: str, value: float) -> None:
    with pytest.raises(ValidationError) as refusal:
        make({path: value})
    [error] = refusal.value.errors()
    place = [part for part in error["loc"] if part not in {"adam", "norm", "recurrent"}]  # a union adds its kind
    assert ".".join(map(str, place)) == path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.features.num_bands", 8),
        ("data.features.num_bands", 128),
        ("data.features.hop_ms", 25.0),
        ("data.features.high_hz", 4000.0),
        ("data.minimum_s", 8.0),
        ("augmentation.warp", 0.5),
        ("encoder.dropout", 0.0),
        ("encoder.hidden_size", 1),
        ("seed", 2**32 - 1),
    ],
)
def test_a_value_at_the_edge_is_kept(path: str, value: float) -> None:
    tree: Any = make({path: value}).model_dump()
    for name in path.split("."):
        tree = tree[name]
    assert tree == value


@pytest.mark.parametrize(
    ("path", "choices"),
    [
        ("encoder.cell", "'rnn_tanh', 'rnn_relu', 'gru' or 'lstm'"),
        ("pooling.kind", "'statistics', 'attention', 'multi_head', 'attentive_statistics'"),
        ("optimizer.kind", "'adam', 'adamw', 'sgd'"),
        ("clipping.kind", "'none', 'norm', 'layer_norm', 'value', 'autoclip', 'agc', 'skip', 'recurrent'"),
        ("encoder.kind", "'recurrent', 'output_recurrent', 'hierarchical', 'tdnn', 'ecapa_tdnn'"),
    ],
)
def test_a_choice_that_is_not_there_is_answered_with_those_that_are(path: str, choices: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        make({path: "nonesuch"})
    assert choices in str(refusal.value)


def test_defaults_are_the_json_of_nothing() -> None:
    assert TrialConfig.model_validate_json(json.dumps({})) == TrialConfig()


def test_frames_a_second_follow_the_hop() -> None:
    assert make({"data.features.hop_ms": 12.5}).data.features.frames_per_s == 80.0


@pytest.mark.parametrize(
    ("flat", "complaint"),
    [
        (
            {"training.accumulation": 5, "training.batch_size": 4},
            r"accumulation \(5\) must not .*batch_size \(4\)",
        ),
        (
            {"schedule.warmup_steps": 400},
            r"warmup_steps \(400\) would last as long as training .* 400 steps",
        ),
        ({"schedule.kind": "cosine", "schedule.warmup_steps": 999}, r"warmup_steps \(999\)"),
        (
            {"training.bptt.kind": "truncated", "training.bptt.frames": 200, "encoder.bidirectional": False},
            r"bptt\.frames \(200\) truncates nothing: the longest that is trained on has 2 s",
        ),
    ],
)
def test_what_would_do_nothing_is_refused(flat: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        make(flat)


@pytest.mark.parametrize(
    ("flat", "complaint"),
    [
        (
            {"training.max_epochs": 10, "training.patience": 9},
            r"training\.patience \(9\) stops a trial after 10 epochs at the earliest, but training has 10",
        ),
        (
            {"schedule.kind": "plateau", "schedule.patience": 8},
            r"schedule\.patience \(8\) .* for 10 epochs .* has 10",
        ),
        (
            {
                "encoder.kind": "output_recurrent",
                "encoder.feedback.kind": "scheduled_sampling",
                "training.max_epochs": 1,
            },
            "scheduled_sampling tells the truth throughout the first epoch",
        ),
        (
            {"pooling.kind": "multi_head", "pooling.num_heads": 9, "encoder.hidden_size": 4},
            r"num_heads \(9\) must not exceed the encoder's values a state \(8\)",
        ),
    ],
)
def test_what_could_never_act_is_refused(flat: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        make(flat)


def test_windows_may_be_as_long_as_the_short_segments_where_others_are_longer() -> None:
    truncated = {"training.bptt.kind": "truncated", "training.bptt.frames": 200, "encoder.bidirectional": False}
    assert make({**truncated, "data.long_segment_s": 4.0})
    assert make({**truncated, "task.kind": "labelling"}), "recordings of up to 4 parts of 4 s"


@pytest.mark.parametrize(
    ("flat", "paths"),
    [
        ({"encoder.cell": "lstm"}, {"data.features.sliding_s"}),
        ({"data.features.normalisation": "sliding"}, {"encoder.forget_bias"}),
        (
            {"encoder.cell": "lstm", "encoder.initialisation": "uniform"},
            {"data.features.sliding_s", "encoder.forget_bias"},
        ),
        ({"encoder.kind": "hierarchical", "encoder.top.cell": "lstm"}, {"data.features.sliding_s"}),
        ({"encoder.kind": "hierarchical"}, {"data.features.sliding_s", "encoder.forget_bias"}),
        ({"encoder.kind": "tdnn"}, {"data.features.sliding_s"}),
        ({"encoder.cell": "lstm", "task.kind": "labelling"}, {"data.features.sliding_s", *SEGMENTS, "pooling"}),
        ({"encoder.cell": "lstm", "task.kind": "sequence"}, {"data.features.sliding_s", *SEGMENTS, "pooling"}),
        (
            {"encoder.cell": "lstm", "task.kind": "sequence", "task.attention": "none"},
            {"data.features.sliding_s", *SEGMENTS},
        ),
    ],
)
def test_what_nothing_reads_is_known(flat: dict[str, Any], paths: set[str]) -> None:
    assert unread(make(flat)).keys() == paths
