"""Errors a speaker: what an accuracy over languages hides, when one voice is always taken for another language."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from reports import selection as select
from reports.records import ScoreTable, StudyRecord
from reports.sections._blocks import Block, Cell, Clip, Clips, Column, Section, Table, Text, numeric
from reports.wording import NOTHING, count, listing, share

SHOWN: Final = 60
HEARD: Final = 12  # speakers, one mistake each


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One speaker of a target language.

    Attributes:
        num: utterances or segments that were scored.
        num_right: that were recognised.
        taken_for: the language that most others were taken for, "" where none were.
        mistake: the utterance that another language leads in by most, "" where all are recognised.
        heard: the language that it was taken for.
    """

    speaker: str
    language: str
    source: str
    num: int
    num_right: int
    taken_for: str
    mistake: str
    heard: str

    @property
    def recall(self) -> float:
        """0..1."""
        return self.num_right / self.num


@dataclass(frozen=True, kw_only=True)
class Speakers:
    """All speakers, those who are recognised least first; none where nothing was scored.

    Attributes:
        split: whose they are: test data, or development data where test data was left alone.
        scored: what is counted, `utterance` or `segment`.
        chance: share that guessing recognises.
        clips: utterance -> MP3, of those that can be heard.
    """

    split: str
    scored: str
    chance: float
    found: tuple[Speaker, ...]
    clips: Mapping[str, bytes] = field(default_factory=dict)


def summarise(study: StudyRecord) -> Speakers | None:
    """Of the chosen trial's scores."""
    table = study.scores_test or study.scores_dev
    if table is None or not table.utterance:
        return None
    split = "test" if study.scores_test else "development"
    return Speakers(
        split=split,
        scored=study.manifest.scored,
        chance=1.0 / len(table.targets),
        found=_speakers(table),
        clips=study.clips,
    )


def worth_hearing(speakers: Speakers | None) -> tuple[str, ...]:
    """Utterances: the surest mistake with each of the least recognised speakers."""
    found = () if speakers is None else tuple(each.mistake for each in speakers.found if each.mistake)
    return found[:HEARD]


def _speakers(table: ScoreTable) -> tuple[Speaker, ...]:
    rows = defaultdict[tuple[str, str, str], list[int]](list)
    for row, key in enumerate(zip(table.language, table.source, table.speaker, strict=True)):
        if key[0] in table.targets:
            rows[key].append(row)
    guesses = select.recognised(table)
    found = [_speaker(theirs, guesses, table) for theirs in rows.values()]
    return tuple(sorted(found, key=lambda each: (each.recall, -each.num, each.speaker, each.language)))


def _speaker(rows: list[int], guesses: Sequence[str], table: ScoreTable) -> Speaker:
    """Args: the rows of one speaker."""
    language = table.language[rows[0]]
    place = table.targets.index(language)
    mistakes = [row for row in rows if guesses[row] != language]
    wrong = Counter(guesses[row] for row in mistakes)
    surest = max(mistakes, key=lambda row: (max(table.llr[row]) - table.llr[row][place], -row), default=None)
    return Speaker(
        speaker=table.speaker[rows[0]],
        language=language,
        source=table.source[rows[0]],
        num=len(rows),
        num_right=len(rows) - len(mistakes),
        taken_for=min(wrong, key=lambda guess: (-wrong[guess], guess), default=""),
        mistake="" if surest is None else table.utterance[surest],
        heard="" if surest is None else guesses[surest],
    )


def present(speakers: Speakers | None) -> tuple[Block, ...]:
    """A sentence, a table and what can be heard; nothing where nothing was scored, or a single speaker was."""
    if speakers is None or len(speakers.found) < 2:  # noqa: PLR2004 - one speaker is the whole accuracy
        return ()
    table = Table(
        caption=f"Speakers of {speakers.split} data, the least recognised first",
        columns=(
            Column("speaker", numeric=False),
            Column("language", numeric=False),
            Column("source", numeric=False),
            Column(f"{speakers.scored}s"),
            Column("recognised"),
            Column("mostly taken for", numeric=False),
        ),
        rows=tuple(_cells(each, speakers.chance) for each in speakers.found[:SHOWN]),
    )
    return (Text(sentence(speakers)), table, *_players(speakers))


def _players(speakers: Speakers) -> tuple[Clips, ...]:
    clips = tuple(
        Clip(
            key=f"mistake-{number:02d}",
            title=f"{each.speaker} ({each.language}), taken for {each.heard}: {each.mistake}",
            mp3=speakers.clips[each.mistake],
        )
        for number, each in enumerate(speakers.found)
        if each.mistake in speakers.clips
    )
    caption = "The surest mistake with each of the least recognised speakers, its first seconds"
    return (Clips(caption=caption, clips=clips),) if clips else ()


def sentence(speakers: Speakers) -> str:
    """How far speakers lie apart, and whom guessing would recognise more often."""
    worst, best = speakers.found[0], speakers.found[-1]
    below = [each for each in speakers.found if each.recall < speakers.chance]
    text = (
        f"Of {count(len(speakers.found), f'{speakers.split} speaker')} the least recognised is at "
        f"{share(worst.recall)} and the best at {share(best.recall)}"
    )
    if not below:
        return f"{text}; none is recognised less often than by guessing ({share(speakers.chance)})."
    languages = Counter(each.language for each in below)
    named = listing(f"{number} of {language}" for language, number in sorted(languages.items()))
    verb = "is" if len(below) == 1 else "are"
    return f"{text}; {len(below)} {verb} recognised less often than by guessing ({share(speakers.chance)}): {named}."


def _cells(each: Speaker, chance: float) -> tuple[Cell, ...]:
    return (
        Cell(each.speaker.removeprefix(f"{each.source}/")),
        Cell(each.language),
        Cell(each.source),
        numeric(each.num, str(each.num)),
        Cell(share(each.recall), sort=each.recall, tone="warn" if each.recall < chance else ""),
        Cell(each.taken_for or NOTHING),
    )


SECTION: Section[Speakers | None] = Section(
    key="speakers", title="Errors by speaker", summarise=summarise, present=present
)
