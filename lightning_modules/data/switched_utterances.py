"""Code-switched recordings of development and test data: utterances, cut and joined. Imports no torch.

Corpora of real code-switching are not free. What is joined here has boundaries that are known exactly, and languages
that come equally often. It is easier than real code-switching in one way, a speaker changes where a language does, and
harder in another, since nothing but the sound tells where.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, assert_never

from lightning_modules.config import (
    ClassificationConfig,
    DataConfig,
    LabellingConfig,
    SequenceConfig,
    SwitchingConfig,
    TaskConfig,
)
from lightning_modules.data.manifest import Recording, Split, Utterance
from lightning_modules.data.utterances import join_utterances
from lightning_modules.errors import CorpusError


class Part(NamedTuple):
    """The beginning of an utterance.

    Attributes:
        utterance: whose.
        duration_s: how long it is, in seconds.
    """

    utterance: Utterance
    duration_s: float


def scored_rows(
    recordings: Sequence[Recording], *, split: Split, data: DataConfig, task: TaskConfig
) -> tuple[Utterance, ...]:
    """What a task is scored on: utterances, or the parts of code-switched recordings, a row each.

    Raises:
        CorpusError: a language has none.
    """
    utterances = join_utterances(recordings, split=split, data=data)
    match task:
        case ClassificationConfig():
            return utterances
        case LabellingConfig() | SequenceConfig():
            return part_rows(join_switched(utterances, switching=task.switching))
        case _:
            assert_never(task)


def join_switched(utterances: Sequence[Utterance], *, switching: SwitchingConfig) -> list[tuple[Part, ...]]:
    """Recordings of several parts, neighbours in different languages; always the same ones.

    Each utterance is cut from its start to a length of its own, and used once at most; those shorter than `min_part_s`
    and a few that find no neighbour are left out. Of Random, only what is promised never to change is used.

    Args:
        utterances: of one split, as `join_utterances` orders them.
        switching: how many parts, and how long.

    Raises:
        CorpusError: a language of the utterances has no part.
    """
    draw = Random(0)  # noqa: S311 - no secret
    languages = dict.fromkeys(utterance.language for utterance in utterances)
    long_enough = [utterance for utterance in utterances if utterance.duration_s >= switching.min_part_s]
    waiting = {
        language: sorted((each for each in long_enough if each.language == language), key=lambda _: draw.random())
        for language in languages
    }
    recordings: list[tuple[Part, ...]] = []
    while parts := _next_recording(waiting, switching, draw):
        recordings.append(parts)
    found = {part.utterance.language for parts in recordings for part in parts}
    if missing := [language for language in languages if language not in found]:
        raise CorpusError(
            f"there is no part of a code-switched recording in {', '.join(missing)}: too few {utterances[0].split} "
            f"utterances last task.switching.min_part_s ({switching.min_part_s:g} s). Make it or min_parts smaller, or "
            "data.utterance_s or data.max_utterances larger."
        )
    return recordings


def part_rows(recordings: Sequence[Sequence[Part]]) -> tuple[Utterance, ...]:
    """Every part as a row of its own: `<recording>.<part>:<utterance>`."""
    return tuple(
        Utterance(
            id=f"{number}.{place}:{part.utterance.id}",
            language=part.utterance.language,
            source=part.utterance.source,
            speaker=part.utterance.speaker,
            split=part.utterance.split,
            recordings=part.utterance.recordings,
            duration_s=part.duration_s,
            start_s=part.utterance.start_s,
        )
        for number, parts in enumerate(recordings)
        for place, part in enumerate(parts)
    )


def _next_recording(waiting: dict[str, list[Utterance]], switching: SwitchingConfig, draw: Random) -> tuple[Part, ...]:
    """Empty where what waits makes no recording of `min_parts`."""
    num_parts = switching.min_parts + int(draw.random() * (switching.max_parts - switching.min_parts + 1))
    parts: list[Part] = []
    while len(parts) < num_parts:
        language = _next_language(waiting, draw, before=parts[-1].utterance.language if parts else None)
        if language is None:
            break
        utterance = waiting[language].pop()
        wanted_s = switching.min_part_s + draw.random() * (switching.max_part_s - switching.min_part_s)
        parts.append(Part(utterance, min(wanted_s, utterance.duration_s)))
    return tuple(parts) if len(parts) >= switching.min_parts else ()


def _next_language(waiting: dict[str, list[Utterance]], draw: Random, *, before: str | None) -> str | None:
    """One that is not the language before, drawn by how many utterances wait; None where there is no other.

    A language that has more than half of all goes first, or it would be left alone in the end.
    """
    counts = {language: len(utterances) for language, utterances in waiting.items()}
    total = sum(counts.values())
    others = {language: count for language, count in counts.items() if count and language != before}
    point = draw.random() * sum(others.values())
    for language, count in others.items():
        if 2 * count > total:
            return language
    for language, count in others.items():
        point -= count
        if point < 0:
            return language
    return next(reversed(others), None)
