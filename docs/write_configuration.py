"""Writes docs/configuration.md from the configuration's own fields: `python docs/write_configuration.py`."""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from search_spaces.assignment import default_config, overlay, validated
from search_spaces.schema import KIND, Leaf, Variant, leaves

PAGE = Path(__file__).parent / "configuration.md"
HEAD = """# Configuration

Every key of a trial, written by `python docs/write_configuration.py`. In a study's file a key stands in its section:
`encoder.hidden_size` is `hidden_size` in `[trial.encoder]`. In a search space the whole path stands in quotes. A
section of several kinds that leaves its `kind` out has the default one. `lidstudy space schema` has the same as JSON
Schema, for editors.
"""
TABLE = "| key | values | default | only with | meaning |\n| --- | --- | --- | --- | --- |\n"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for section, group in groupby(leaves().values(), key=lambda leaf: leaf.path.split(".")[0]):
        rows = "".join(row for leaf in group for row in _rows(leaf))
        parts.append(f"\n## `{section}`\n\n{TABLE}{rows}")
    return "".join(parts)


def _rows(leaf: Leaf) -> Iterator[str]:
    """A row a leaf, or one for each range, default and meaning that it has."""
    alike: dict[tuple[str, str, str], list[Variant]] = {}
    for variant in leaf.variants:
        alike.setdefault((_values(variant), _default(leaf.path, variant), _meaning(leaf, variant)), []).append(variant)
    for (values, default, meaning), variants in alike.items():
        cells = (f"`{leaf.path}`", values, default, _only_with(leaf, variants), meaning)
        yield f"| {' | '.join(cells)} |\n"


def _meaning(leaf: Leaf, variant: Variant) -> str:
    if leaf.is_union:
        models = _models_at(leaf.path.removesuffix(f".{KIND}"))
        return "; ".join(f"`{model.model_fields[KIND].default}`: {_summary(model)}" for model in models)
    is_of_section = variant.description == (variant.section.__doc__ or "").strip().partition("\n")[0]
    return "" if is_of_section else _cell(variant.description)


def _models_at(path: str) -> list[type[BaseModel]]:
    """The sections that may stand at a path."""
    models: list[type[BaseModel]] = [TrialConfig]
    for part in path.split("."):
        annotations = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        models = [model for annotation in annotations for model in _models_in(annotation)]
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in _models_in(each)]


def _summary(model: type[BaseModel]) -> str:
    """The first sentence that a section says of itself."""
    first = " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())
    return _cell(first)


def _cell(text: str) -> str:
    return text.rstrip(".").replace("|", "\\|")


def _default(path: str, variant: Variant) -> str:
    """What the key has where nothing is said but the kinds that it needs."""
    try:
        whole: Any = validated(overlay(default_config(), variant.kinds)).model_dump(mode="json")
    except ConfigError:  # these kinds need more than themselves
        value = variant.section.model_fields[variant.name].default
        return "" if repr(value) == "PydanticUndefined" else f"`{json.dumps(value)}`"
    for part in path.split("."):
        whole = whole[part]
    return "not set" if whole is None else f"`{json.dumps(whole)}`"


def _only_with(leaf: Leaf, variants: Sequence[Variant]) -> str:
    needed = []
    for kind_path in leaf.kinds:
        kinds = dict.fromkeys(variant.kinds[kind_path] for variant in variants if kind_path in variant.kinds)
        needed.append(f"`{kind_path}` {', '.join(f'`{kind}`' for kind in kinds)}")
    return "; ".join(needed)


def _values(variant: Variant) -> str:
    schema = variant.adapter.json_schema()
    parts = [_value(part) for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    return " or ".join(dict.fromkeys(parts))


def _value(schema: dict[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return " ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema["type"]
    if kind not in ("integer", "number"):
        return {"boolean": "`true` `false`", "string": "text", "array": "list of texts"}[kind]
    words = ["whole number" if kind == "integer" else "number"]
    words += [f"{sign} {schema[key]:g}" for key, sign in SIGNS.items() if key in schema]
    return " ".join(words)


SIGNS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤", "multipleOf": "multiple of"}

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
