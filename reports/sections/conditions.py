"""Trials under conditions: by duration, noise, number of speakers and language, as `lidstudy evaluate` scored them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reports import selection as select
from reports.evaluation_records import ConditionResult, Evaluation, LanguageResult, why_no_intervals
from reports.published import PUBLISHED, Published
from reports.records import StudyRecord, TrialRecord, chosen
from reports.sections._blocks import Block, Cell, Column, Section, Table, Text, numeric
from reports.wording import NOTHING, count, listing, number, parameter, share, short_names

PERCENT = 100.0
RESCORED = "c_primary_calibrated"
HINTS = {
    "c_avg": "of LRE07; chance 0.5",
    "p_above_chance": "of raw accuracy, languages permuted over sources; not corrected for there being several",
}


@dataclass(frozen=True, kw_only=True)
class System:
    """One trial on one part of one corpus.

    Attributes:
        name: the trial, and what it was given of the searched parameters in which the systems differ.
        evaluation: what was found.
    """

    name: str
    evaluation: Evaluation


@dataclass(frozen=True, kw_only=True)
class Place:
    """All systems that were scored on one part of one corpus.

    Attributes:
        conditions: that any of them was scored under, in the order of the first.
        asked: conditions that were asked for, also those that no speech fits.
    """

    corpus: str
    split: str
    same_corpus: bool
    systems: tuple[System, ...]
    conditions: tuple[str, ...]
    asked: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Everything that was scored, and figures from elsewhere."""

    places: tuple[Place, ...] = ()
    published: Published | None = None
    targets: tuple[str, ...] = ()


def summarise(study: StudyRecord) -> Conditions:
    """By corpus and part, in the order of the ledger's."""
    keys = dict.fromkeys((each.corpus, each.data_hash, each.split) for each in study.evaluations)
    return Conditions(
        places=tuple(_place(study, key) for key in keys),
        published=PUBLISHED.get(str(study.manifest.config.get("published", ""))),
        targets=tuple(study.manifest.languages),
    )


def _place(study: StudyRecord, key: tuple[str, str, str]) -> Place:
    here = [each for each in study.evaluations if (each.corpus, each.data_hash, each.split) == key]
    names = _names(study, [each.trial for each in here])
    return Place(
        corpus=select.corpus_name(here[0], study),
        split=key[2],
        same_corpus=here[0].same_corpus,
        systems=tuple(System(name=names[each.trial], evaluation=each) for each in here),
        conditions=tuple(dict.fromkeys(result.condition for each in here for result in each.conditions)),
        asked=tuple(
            dict.fromkeys(
                name
                for entry in study.ledger
                if (entry.corpus, entry.data_hash, entry.split) == key
                for name in entry.conditions
            )
        ),
    )


def _names(study: StudyRecord, numbers: list[int]) -> dict[int, str]:
    """Trial's number -> its name: with the parameters by which these trials can be told apart."""
    trials: dict[int, TrialRecord] = {trial.number: trial for trial in study.trials}
    given = {number: chosen(study.manifest.parameters, trials[number].params) for number in numbers if number in trials}
    paths = dict.fromkeys(path for params in given.values() for path, value in params.items() if _is_choice(value))
    telling = [path for path in paths if len({str(params.get(path)) for params in given.values()}) > 1]
    short = short_names(telling)
    names = {}
    for each in numbers:
        values = [f"{short[path]} {parameter(given[each][path])}" for path in telling if path in given.get(each, {})]
        names[each] = f"trial {each}" + (f" ({', '.join(values[:2])})" if values else "")
    return names


def _is_choice(value: object) -> bool:
    return not isinstance(value, float)


def present(conditions: Conditions) -> tuple[Block, ...]:
    """A table of systems by condition, each system's scores and its recalls by language; and a paper's table."""
    blocks: list[Block] = []
    for place in conditions.places:
        blocks += [_rests_on(place, conditions), *_systems_tables(place)]
        for system in place.systems:
            blocks += [_scores_table(place, system), *_intervals(system)]
            blocks += [_recalls_table(place, system), *_detectors_table(place, system)]
    if conditions.published is not None:
        blocks += [
            Text(f"{conditions.published.source}. {conditions.published.note}"),
            _published(conditions.published),
        ]
    return tuple(blocks)


def _rests_on(place: Place, conditions: Conditions) -> Text:
    first = place.systems[0].evaluation.conditions
    sources = max(result.num_sources for result in first)
    split = {"dev": "Development", "test": "Test", "all": "All"}.get(place.split, place.split)
    text = f"{split} speech of {place.corpus}"
    if known := dict.fromkeys(what for system in place.systems for what in system.evaluation.known):
        text += f", of which {listing(known)} were heard in training: these scores reward knowing them"
    else:
        text += ", other parts of which trained" if place.same_corpus else ", none of whose recordings trained"
    text += f": {count(max(each.num_utterances for each in first), 'utterance')} at most, {count(sources, 'source')}. "
    text += f"Chance is an accuracy of {share(1 / len(conditions.targets))} and a C_primary of 1."
    if joined := [result for result in first if result.is_joined]:
        text += " Joined from several recordings of one speaker, where one was too short: "
        text += ", ".join(f"{share(result.joined)} of {result.condition}" for result in joined) + "."
    if all(result.missing(conditions.targets) == list(conditions.targets) for result in first):
        text += f" None of it is in one of the trials' languages ({listing(conditions.targets)})."
    else:
        for result in first:
            if missing := result.missing(conditions.targets):
                named = f"the language{'' if len(missing) == 1 else 's'} {listing(missing)}"
                text += f" {result.condition} has no speech in {named}: its scores are means over the others."
    if unfit := [name for name in place.asked if name not in place.conditions]:
        text += f" No speech fits {listing(unfit)}, which {'was' if len(unfit) == 1 else 'were'} asked for."
    return Text(text)


def _systems_tables(place: Place) -> Iterator[Table]:
    """The lecture's table, of raw and of calibrated scores."""
    title = f"Accuracy in % and (C_primary) on {place.corpus}, {place.split}"
    yield _systems_table(place, title=f"{title}, raw scores", suffix="")
    if any(RESCORED in result.scores for system in place.systems for result in system.evaluation.conditions):
        yield _systems_table(place, title=f"{title}, calibrated on development scores", suffix="_calibrated")


def _systems_table(place: Place, *, title: str, suffix: str) -> Table:
    """A row a condition, accuracy and C_primary of each system."""
    columns = (Column("condition", numeric=False), Column("utterances"), *(Column(each.name) for each in place.systems))
    rows = []
    for condition in place.conditions:
        results = [_of(system, condition) for system in place.systems]
        amounts = [result.num_utterances for result in results if result is not None]
        cells = [_both(result.scores, suffix) if result is not None else Cell(NOTHING) for result in results]
        least, most = min(amounts), max(amounts)
        shown = str(most) if least == most else f"{least} to {most}"
        rows.append((Cell(condition), numeric(most, shown), *cells))
    return Table(caption=title, columns=columns, rows=tuple(rows))


def _both(scores: Mapping[str, float], suffix: str) -> Cell:
    accuracy, cost = scores.get(f"accuracy{suffix}"), scores.get(f"c_primary{suffix}")
    if accuracy is None or cost is None:
        return Cell(NOTHING)
    return numeric(accuracy, f"{PERCENT * accuracy:.1f} ({cost:.2f})")


def _scores_table(place: Place, system: System) -> Table:
    names = {
        "accuracy": "accuracy",
        "c_primary": "C_primary",
        "c_primary_calibrated": "C_primary, calibrated",
        "c_avg": "C_avg",
        "eer": "EER",
        "cllr": "Cllr",
        "cllr_calibrated": "Cllr, calibrated",
        "c_avg_open_set": "C_avg, open set",
        "accepted_out_of_set": "out-of-set accepted",
        "p_above_chance": "p above chance",
    }
    found = [key for key in names if any(key in each.scores for each in system.evaluation.conditions)]
    columns = (
        Column("condition", numeric=False),
        Column("utterances"),
        Column("sources"),
        Column("speakers"),
        Column("mean s"),
        *(Column(names[key], hint=HINTS.get(key, "")) for key in found),
    )
    rows = tuple(
        (
            Cell(each.condition),
            numeric(each.num_utterances, str(each.num_utterances)),
            numeric(each.num_sources, str(each.num_sources)),
            Cell(NOTHING) if each.num_speakers is None else numeric(each.num_speakers, str(each.num_speakers)),
            numeric(each.mean_s, number(each.mean_s, 1)),
            *(numeric(each.scores.get(key), number(each.scores.get(key))) for key in found),
        )
        for each in system.evaluation.conditions
    )
    return Table(caption=f"Scores of {system.name} on {place.corpus}, {place.split}", columns=columns, rows=rows)


def _intervals(system: System) -> Iterator[Text]:
    results = system.evaluation.conditions
    if told := [
        f"{each.condition}: " + ", ".join(f"{name} {number(low)} to {number(high)}" for name, (low, high) in ends)
        for each in results
        if (ends := each.intervals.items())
    ]:
        yield Text("Intervals at 95 % for sources at large, each source counted the same. " + "; ".join(told) + ".")
    for reason in why_no_intervals(results):
        yield Text(reason[0].upper() + reason[1:])


def _detectors_table(place: Place, system: System) -> Iterator[Table]:
    """Nothing of evaluations that are from before these were recorded, or of one language."""
    rows = tuple(
        (
            Cell(result.condition),
            Cell(each.language),
            numeric(each.num_utterances, str(each.num_utterances)),
            numeric(each.num_sources, str(each.num_sources)),
            numeric(each.num_speakers, str(each.num_speakers)),
            Cell(each.taken_for or NOTHING),
            *(numeric(value, number(value)) for value in (each.eer, each.p_miss, each.p_fa, each.cllr)),
        )
        for result in system.evaluation.conditions
        for each in result.languages
        if each.eer is not None
    )
    if rows:
        yield Table(
            caption=f"Each language's detector, {system.name} on {place.corpus}, {place.split}",
            columns=(
                Column("condition", numeric=False),
                Column("language", numeric=False),
                *map(Column, ("utterances", "sources", "speakers")),
                Column("taken for", numeric=False, hint="what most of the others were taken for"),
                Column("EER", hint="all other languages counted alike"),
                Column("P_miss", hint="rejected at even odds, raw scores"),
                Column("P_fa", hint="of other languages, accepted at even odds: the mean over these languages"),
                Column("Cllr", hint="bits, of its utterances, raw scores"),
            ),
            rows=rows,
        )


def _recalls_table(place: Place, system: System) -> Table:
    languages = sorted({each.language for result in system.evaluation.conditions for each in result.languages})
    rows = []
    for result in system.evaluation.conditions:
        recalls = {each.language: each for each in result.languages}
        rows.append((Cell(result.condition), *(_recall(recalls.get(language)) for language in languages)))
    return Table(
        caption=f"Recall of each language, {system.name} on {place.corpus}, {place.split}",
        columns=(Column("condition", numeric=False), *(Column(language) for language in languages)),
        rows=tuple(rows),
    )


def _recall(result: LanguageResult | None) -> Cell:
    if result is None:
        return Cell(NOTHING)
    return Cell("no target", tone="quiet") if result.recall is None else numeric(result.recall, share(result.recall))


def _of(system: System, condition: str) -> ConditionResult | None:
    return next((each for each in system.evaluation.conditions if each.condition == condition), None)


def _published(published: Published) -> Table:
    columns = (Column("condition", numeric=False), *(Column(system) for system in published.systems))
    rows = tuple(
        (Cell(condition), *(numeric(accuracy, f"{accuracy:.1f} ({cost:.2f})") for accuracy, cost in values))
        for condition, values in published.rows.items()
    )
    return Table(caption=f"Accuracy in % and (cost): {published.source}", columns=columns, rows=rows)


SECTION = Section(key="conditions", title="Conditions", summarise=summarise, present=present)
