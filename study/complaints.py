"""What a validation error says to a user: the key as it stands in the file, what is wrong, and what is known there."""

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from search_spaces.plain_words import in_plain_words
from search_spaces.schema import leaves

MASKED = "storage"  # a URL that cannot be read cannot be masked; its own message shows what it can
Models = tuple[type[BaseModel], ...]


def first_finding(error: ValidationError, *, model: type[BaseModel]) -> str:
    """One line for a validation error: key, what is wrong, what was given, and how many more there are."""
    findings = error.errors(include_url=False)
    first = findings[0]
    path, section = _place(first["loc"], model)
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{_complaint(first, path, section)}{more}"


def _complaint(finding: Any, path: Sequence[str], section: Models) -> str:
    key = ".".join(path) or "(top level)"
    match finding["type"]:
        case "extra_forbidden":
            known = {name for each in section for name in each.model_fields}
            return f"{key}: {_of_other_kinds(path) or f'there is no such key; {_meant(path[-1], known)}'}"
        case "union_tag_invalid":
            context = finding["ctx"]
            known = set(re.findall(r"'([^']*)'", context["expected_tags"]))
            return f"{key}.kind: there is no '{context['tag']}'; {_meant(context['tag'], known)}"
        case "union_tag_not_found":
            return f"{key}: the key `kind` is missing"
    given = f" (got {json.dumps(finding['input'])})" if isinstance(finding["input"], str | int | float | bool) else ""
    return f"{key}: {in_plain_words(finding['msg'])}{given if path[:1] != [MASKED] else ''}"


def _of_other_kinds(path: Sequence[str]) -> str:
    """Where a key of a trial exists under other kinds only; "" of what is no key at all."""
    leaf = leaves().get(".".join(path[1:])) if path[:1] == ["trial"] else None
    if leaf is None or not leaf.kinds:
        return ""
    kinds = " and ".join(f"trial.{kind} = {' or '.join(values)}" for kind, values in leaf.kinds.items())
    return f"exists only with {kinds}"


def _meant(name: str, known: set[str]) -> str:
    close = get_close_matches(name, sorted(known), n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"


def _place(loc: Sequence[Any], model: type[BaseModel]) -> tuple[list[str], Models]:
    """The path in the file, and the sections that may stand where its last key does.

    Where a section is one of several kinds, pydantic puts the kind into the path, which no file has.
    """
    path: list[str] = []
    here: Models = (model,)
    section = here
    for part in loc:
        of_kind = tuple(each for each in here if len(here) > 1 and each.model_fields["kind"].default == part)
        if of_kind:
            here = of_kind
            continue
        path.append(str(part))
        section = here
        fields = (each.model_fields[part] for each in here if part in each.model_fields)
        here = tuple(found for field in fields for found in _models(field.annotation))
    return path, section


def _models(annotation: Any) -> Models:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(found for each in get_args(annotation) for found in _models(each))
