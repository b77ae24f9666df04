"""Errors a speaker: what an accuracy over languages hides, when one voice is always taken for another language."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Final

from reports.records import ScoreTable, StudyRecord
from reports.sections import _selection as select
from reports.sections._blocks import Block, Cell, Column, Section, Table, Text
from reports.sections._text import NOTHING, count, listing, numeric, share

SHOWN: Final = 60


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One speaker of a target language.

    Attributes:
        num: utterances or segments that were scored.
        num_right: that were recognised.
        taken_for: the language that most others were taken for, "" where none were.
    """

    speaker: str
    language: str
    source: str
    num: int
    num_right: int
    taken_for: str

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
    """

    split: str
    scored: str
    chance: float
    found: tuple[Speaker, ...]


def summarise(study: StudyRecord) -> Speakers | None:
    """Of the chosen trial's scores."""
    table = study.scores_test or study.scores_dev
    if table is None or not table.utterance:
        return None
    split = "test" if study.scores_test else "development"
    return Speakers(split=split, scored=study.manifest.scored, chance=1.0 / len(table.targets), found=_speakers(table))


def _speakers(table: ScoreTable) -> tuple[Speaker, ...]:
    guesses = defaultdict[tuple[str, str, str], list[str]](list)
    for language, source, speaker, guess in zip(
        table.language, table.source, table.speaker, select.recognised(table), strict=True
    ):
        if language in table.targets:
            guesses[language, source, speaker].append(guess)
    found = [_speaker(*key, heard) for key, heard in guesses.items()]
    return tuple(sorted(found, key=lambda each: (each.recall, -each.num, each.speaker, each.language)))


def _speaker(language: str, source: str, speaker: str, guesses: list[str]) -> Speaker:
    wrong = Counter(guess for guess in guesses if guess != language)
    return Speaker(
        speaker=speaker,
        language=language,
        source=source,
        num=len(guesses),
        num_right=len(guesses) - wrong.total(),
        taken_for=min(wrong, key=lambda guess: (-wrong[guess], guess), default=""),
    )


def present(speakers: Speakers | None) -> tuple[Block, ...]:
    """A sentence and a table; nothing where nothing was scored, or a single speaker was."""
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
    return (Text(sentence(speakers)), table)


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
        Cell(each.speaker),
        Cell(each.language),
        Cell(each.source),
        numeric(each.num, str(each.num)),
        Cell(share(each.recall), sort=each.recall, tone="warn" if each.recall < chance else ""),
        Cell(each.taken_for or NOTHING),
    )


SECTION: Section[Speakers | None] = Section(
    key="speakers", title="Errors by speaker", summarise=summarise, present=present
)
