"""What a search space may name: the leaves of TrialConfig, found by walking its pydantic fields.

A leaf below a union of sections (`clipping`, told apart by `kind`) may exist under some kinds only, and may have
another range under each: it therefore has one variant a kind.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from inspect import cleandoc
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lightning_modules.config import TrialConfig
from search_spaces.plain_words import in_plain_words

KIND: Final = "kind"
SEED: Final = "seed"
INSIDE_LOW: Final = 1.01  # of a bound that a field may not have
INSIDE_HIGH: Final = 0.99


@dataclass(frozen=True)
class Variant:
    """A field in one of the sections that hold it.

    Attributes:
        section: the section's model.
        name: the field.
        annotation: its type, with its constraints.
        kinds: the kinds under which this section is in use, path of a `kind` -> its value.
    """

    section: type[BaseModel]
    name: str
    annotation: Any
    kinds: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """The validator of the field by itself."""
        return TypeAdapter(self.annotation)

    def complaint(self, value: object) -> str | None:
        """Why the field cannot hold a value, or None; no type is converted, but whole numbers to float."""
        try:
            self.adapter.validate_python(value, strict=True)
        except ValidationError as error:
            return in_plain_words(error.errors(include_url=False)[0]["msg"])
        return None

    @property
    def description(self) -> str:
        """What its section says of the field: its lines under Attributes, else the section's first line."""
        for model in self.section.__mro__:
            said = re.search(rf"^    {self.name}: (.*(?:\n     +.*)*)", cleandoc(model.__doc__ or ""), re.MULTILINE)
            if said:
                return re.sub(r"\n +", " ", said[1])
        return cleandoc(self.section.__doc__ or "").partition("\n")[0]


@dataclass(frozen=True)
class Leaf:
    """A value in TrialConfig that a space may search.

    Attributes:
        path: for instance `encoder.hidden_size`.
        variants: the field in each section that holds it, at least one.
    """

    path: str
    variants: tuple[Variant, ...]

    @cached_property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """The kinds that have this leaf, path of a `kind` -> its values; nothing for a leaf that always exists."""
        found: dict[str, dict[str, None]] = {}
        for variant in self.variants:
            for path, kind in variant.kinds.items():
                found.setdefault(path, {})[kind] = None
        return {
            path: tuple(kinds)
            for path, kinds in found.items()
            if set(kinds) != set(get_args(leaves()[path].variants[0].annotation))
        }

    @cached_property
    def is_union(self) -> bool:
        """Whether it is the `kind` that tells the sections of a union apart."""
        return self.path.endswith(f".{KIND}") and any(
            self.path in variant.kinds for leaf in leaves().values() for variant in leaf.variants
        )

    def within(self, low: float, high: float) -> tuple[float, float]:
        """The part of a range of positive numbers that the field may have under every kind that holds it."""
        for variant in self.variants:
            schema = variant.adapter.json_schema()
            for part in schema.get("anyOf", (schema,)):
                low = max(low, part.get("minimum", low), INSIDE_LOW * part.get("exclusiveMinimum", 0.0))
                high = min(high, part.get("maximum", high), INSIDE_HIGH * part.get("exclusiveMaximum", math.inf))
        return low, high

    @cached_property
    def searchable(self) -> bool:
        """Whether it holds one value: lists and sections cannot be searched."""
        schema = self.variants[0].adapter.json_schema()
        return not any(
            part.get("type") in {"array", "object"} or "$ref" in part for part in (schema, *schema.get("anyOf", ()))
        )


@cache
def leaves() -> dict[str, Leaf]:
    """Every leaf of TrialConfig but the seed, by path, in the order of its fields."""
    variants: dict[str, list[Variant]] = {}
    for path, variant in _walk(TrialConfig, "", {}):
        variants.setdefault(path, []).append(variant)
    return {path: Leaf(path, tuple(found)) for path, found in variants.items() if path != SEED}


@cache
def sections() -> dict[str, tuple[str, ...]]:
    """The fields that a section may have under each path, `clipping` -> (`clipping.kind`, `clipping.max_norm` …)."""
    found: dict[str, tuple[str, ...]] = {}
    for path in leaves():
        parts = path.split(".")
        for depth in range(1, len(parts)):
            prefix = ".".join(parts[:depth])
            found[prefix] = (*found.get(prefix, ()), path)
    return found


def fields_of_kind(kind_path: str, kind: str) -> frozenset[str]:
    """Names of the fields (and sections) right below a union section when its kind is this one."""
    section = kind_path.removesuffix(f".{KIND}")
    below = (
        path.removeprefix(f"{section}.").partition(".")[0]
        for path in sections()[section]
        for variant in leaves()[path].variants
        if variant.kinds.get(kind_path, kind) == kind
    )
    return frozenset(below)


@cache
def space_schema() -> dict[str, Any]:
    """JSON Schema of a search space's TOML, for editors: every path with its description and range."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lidstudy search space",
        "type": "object",
        "required": ["space"],
        "additionalProperties": False,
        "properties": {
            "$schema": {"type": "string"},
            "space": {
                "type": "object",
                "description": "Path in TrialConfig -> what to choose from.",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {path: _parameter_schema(leaf) for path, leaf in leaves().items() if leaf.searchable},
            },
        },
        "$defs": {
            "when": {
                "type": "object",
                "description": "Searched only where each of these parameters has one of the values listed.",
                "minProperties": 1,
                "propertyNames": {"enum": list(leaves())},
                "additionalProperties": {"type": "array", "minItems": 1},
            }
        },
    }


def _parameter_schema(leaf: Leaf) -> dict[str, Any]:
    value = _value_schema(leaf)
    only = "".join(f" Only with {path} = {' or '.join(kinds)}." for path, kinds in leaf.kinds.items())
    ways = [_way("choices", {"type": "array", "items": value, "minItems": 1, "uniqueItems": True})]
    types = _numeric_types(value)
    if "integer" in types:
        ways.append(_way("int", _ends(value), log={"type": "boolean"}, step={"type": "integer", "minimum": 1}))
    if "number" in types:
        ways.append(
            _way("float", _ends(value), log={"type": "boolean"}, step={"type": "number", "exclusiveMinimum": 0})
        )
    return {"description": leaf.variants[-1].description + only, "oneOf": ways}


def _way(key: str, schema: dict[str, Any], **options: dict[str, Any]) -> dict[str, Any]:
    properties = {key: schema, **options, "when": {"$ref": "#/$defs/when"}}
    return {"type": "object", "required": [key], "additionalProperties": False, "properties": properties}


def _ends(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": value, "minItems": 2, "maxItems": 2}


def _value_schema(leaf: Leaf) -> dict[str, Any]:
    """What the leaf may hold under any kind; TOML has no null."""
    schemas: list[dict[str, Any]] = []
    for variant in leaf.variants:
        schema = variant.adapter.json_schema()
        for part in schema.get("anyOf", (schema,)):
            bare = {key: item for key, item in part.items() if key not in {"title", "default"}}
            if bare.get("type") != "null" and bare not in schemas:
                schemas.append(bare)
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _numeric_types(value: dict[str, Any]) -> set[str]:
    return {
        part["type"]
        for part in value.get("anyOf", (value,))
        if "enum" not in part and "const" not in part and "type" in part
    }


# --- walking the model ------------------------------------------------------------------------------------------------


def _walk(section: type[BaseModel], prefix: str, kinds: dict[str, str]) -> Iterator[tuple[str, Variant]]:
    for name, info in section.model_fields.items():
        path = f"{prefix}{name}"
        parts = _section_types(info.annotation)
        if len(parts) == 1:
            yield from _walk(parts[0], f"{path}.", kinds)
        elif parts:
            yield from _walk_union(parts, path, kinds)
        else:
            yield path, Variant(section, name, _annotation(info), kinds)


def _walk_union(parts: tuple[type[BaseModel], ...], path: str, kinds: dict[str, str]) -> Iterator[tuple[str, Variant]]:
    kind_path = f"{path}.{KIND}"
    values = {part: str(get_args(part.model_fields[KIND].annotation)[0]) for part in parts}
    yield kind_path, Variant(parts[0], KIND, Literal[tuple(values.values())], kinds)
    for part, kind in values.items():
        for found, variant in _walk(part, f"{path}.", {**kinds, kind_path: kind}):
            if found != kind_path:
                yield found, variant


def _section_types(annotation: object) -> tuple[type[BaseModel], ...]:
    """The models that a field may hold; none for a leaf."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    if getattr(annotation, "__metadata__", None) is not None:  # Annotated
        return _section_types(get_args(annotation)[0])
    return tuple(part for argument in get_args(annotation) for part in _section_types(argument))


def _annotation(info: FieldInfo) -> Any:
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
