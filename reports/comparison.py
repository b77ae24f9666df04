"""Several studies side by side: what they share, what each found, and whether their test scores can be told apart."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from lightning_modules.detection_curves import det_curve
from reports import selection as select
from reports.figures import DetLine, det_figure
from reports.multiple_comparisons import holm
from reports.records import ScoreTable, StudyRecord, TrialState
from reports.sections import answer, cost
from reports.sections._blocks import Block, Cell, Column, Drawing, Items, Table, numeric
from reports.sections.calibration import has_all_languages, truth_of
from reports.statistics import mean_sd, sign_test
from reports.wording import NOTHING, count, duration, listing, number, p_value, parameter, short_names, spread

ALPHA = 0.05
MOST_NAMED: Final = 5


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One study.

    Attributes:
        seeds: objectives of the chosen trial's configuration, one a seed.
        settings: what the configurations of all its trials begin with, path -> value.
        space: what is searched, path -> its values.
        diverged: trials whose training diverged.
        detection: of the chosen trial's raw test scores; None where not every language was scored, or other speech than
            the first study scored.
    """

    name: str
    found: answer.Answer
    data_hash: str
    settings: Mapping[str, str]
    space: Mapping[str, str]
    detection: DetLine | None
    seeds: tuple[float, ...]
    diverged: int
    spent: cost.Cost


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A study's chosen trial against the first study's, on the test utterances that both scored.

    Attributes:
        only_first: utterances that the first alone recognised; `only_other` those that the other alone did.
        sources_first: sources in which the first recognised more; `sources_other` those in which the other did.
        p_value: of a sign test over sources, corrected (Holm) over the studies that are compared with the first.
    """

    name: str
    num_utterances: int
    only_first: int
    only_other: int
    num_sources: int
    sources_first: int
    sources_other: int
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Studies in the order in which they were named; the first is what the others are compared with."""

    studies: tuple[Compared, ...]
    pairs: tuple[Paired, ...]

    @property
    def differing(self) -> tuple[str, ...]:
        """In what the studies differ that makes their numbers no comparison."""
        found = [study.found for study in self.studies]
        spaces = [study.space for study in self.studies]
        searched = set().union(*spaces)  # by one study at least: these differ in the space
        settings = [{path: v for path, v in each.settings.items() if path not in searched} for each in self.studies]
        kinds: dict[str, set[Any]] = {
            "the data": {study.data_hash for study in self.studies},
            "the languages": {each.languages for each in found},
            "the objective": {each.objective_name for each in found},
            f"the search space ({_apart(spaces)})": {json.dumps(space) for space in spaces},
            f"settings of all trials ({_apart(settings, values=True)})": {json.dumps(each) for each in settings},
            "the number of trials": {each.num_compared for each in found},
        }
        return tuple(kind for kind, values in kinds.items() if len(values) > 1)


def _apart(studies: Sequence[Mapping[str, str]], *, values: bool = False) -> str:
    """The first paths at which studies differ; with the studies' values: `max_epochs 10 / 20`."""
    paths = [path for path in sorted(set().union(*studies)) if len({study.get(path) for study in studies}) > 1]
    names, said = short_names(paths), []
    for path in paths:
        found = f" {' / '.join(study.get(path, NOTHING) for study in studies)}" if values else ""
        said.append(f"{names[path]}{found}")
    return listing([*said[:MOST_NAMED], f"{len(said) - MOST_NAMED} more"] if len(said) > MOST_NAMED else said)


def summarise(studies: Sequence[StudyRecord]) -> Comparison:
    """The studies, and each of the others against the first."""
    first, *others = studies
    pairs = [found for other in others if (found := _paired(first, other)) is not None]
    adjusted = holm([sign_test(found.sources_first, found.sources_other) for found in pairs])
    return Comparison(
        studies=tuple(_compared(study, first) for study in studies),
        pairs=tuple(replace(pair, p_value=p or 0.0) for pair, p in zip(pairs, adjusted, strict=True)),
    )


def _compared(study: StudyRecord, first: StudyRecord) -> Compared:
    trial = select.chosen(study)
    space = {parameter.path: repr(parameter) for parameter in study.manifest.parameters}
    seeds = [each for each in select.scored(study) if trial and each.configuration_hash == trial.configuration_hash]
    return Compared(
        name=study.manifest.name,
        found=answer.summarise(study),
        data_hash=_data_hash(study),
        settings=dict(sorted(_flat(study.manifest.config.get("trial") or {}))),
        space=dict(sorted(space.items())),
        detection=_detection(study, first),
        seeds=select.objectives(seeds),
        diverged=len(select.with_state(study, TrialState.DIVERGED)),
        spent=cost.summarise(study),
    )


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Path and value of each setting."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", parameter(value)


def _detection(study: StudyRecord, first: StudyRecord) -> DetLine | None:
    table = study.scores_test
    if table is None or not has_all_languages(table) or _data_hash(study) != _data_hash(first):
        return None
    if _recognised(table).keys() != _recognised(first.scores_test).keys():
        return None
    det = det_curve(np.array(table.llr), truth_of(table))
    p_miss, p_fa = (tuple(values.tolist()) for values in (det.p_miss, det.p_fa))
    return DetLine(name=study.manifest.name, p_miss=p_miss, p_fa=p_fa, eer=det.eer)


def _data_hash(study: StudyRecord) -> str:
    return str(study.manifest.corpus.get("data_hash", ""))


def _paired(first: StudyRecord, other: StudyRecord) -> Paired | None:
    """None where one was not scored on test data, or on other data, or was to tell other languages apart."""
    if _data_hash(first) != _data_hash(other) or set(first.manifest.languages) != set(other.manifest.languages):
        return None
    one, two = _recognised(first.scores_test), _recognised(other.scores_test)
    shared = sorted(one.keys() & two.keys())
    if not shared:
        return None
    by_source = defaultdict[str, int](int)  # how many more the first recognised
    outcomes = Counter[tuple[bool, bool]]()
    for key in shared:
        _, source = key
        outcomes[one[key], two[key]] += 1
        by_source[source] += one[key] - two[key]
    return Paired(
        name=other.manifest.name,
        num_utterances=len(shared),
        only_first=outcomes[True, False],
        only_other=outcomes[False, True],
        num_sources=len(by_source),
        sources_first=sum(more > 0 for more in by_source.values()),
        sources_other=sum(more < 0 for more in by_source.values()),
        p_value=1.0,
    )


def _recognised(table: ScoreTable | None) -> dict[tuple[str, str], bool]:
    """(utterance, source) -> whether its language had the largest raw score."""
    if table is None:
        return {}
    guesses = select.recognised(table)
    keys = zip(table.utterance, table.source, strict=True)
    return {key: guess == spoken for key, guess, spoken in zip(keys, guesses, table.language, strict=True)}


def present(comparison: Comparison) -> tuple[Block, ...]:
    """What can be said, a row a study, and a row a pair."""
    blocks: list[Block] = [Items(_sentences(comparison)), _studies_table(comparison)]
    if comparison.pairs:
        blocks.append(_pairs_table(comparison))
    lines = [study.detection for study in comparison.studies if study.detection is not None]
    if len(lines) > 1:
        blocks.append(
            Drawing(
                key="detection",
                alt="Misses against false alarms of the studies' chosen trials.",
                caption="Detection error of the chosen trials' raw test scores: all languages' detectors under one "
                "threshold, every language counting the same, on normal deviates; the dot, and the number behind the "
                "name, is the EER of that threshold. That one curve lies below another is no test of which is better.",
                draw=lambda: det_figure(lines),
            )
        )
    return tuple(blocks)


def _sentences(comparison: Comparison) -> tuple[str, ...]:
    studies = comparison.studies
    single = [study.name for study in studies if len(study.seeds) == 1]
    untested = [study.name for study in studies if study.found.test is None]
    together = "The studies share data, languages, objective, search space, settings and the number of complete trials."
    if comparison.differing:
        together = (
            f"The studies differ in {listing(comparison.differing)}: their numbers stand beside each other here, and "
            "do not tell what made the difference."
        )
    lines = [together]
    if single:
        lines.append(
            f"The configuration that was chosen has one seed in {listing(single)}: what another seed would change is "
            "not known, and a difference between studies may be that. “lidstudy ablate” trains arms under the same "
            "seeds."
        )
    lines += [_said(studies[0].name, pair) for pair in comparison.pairs]
    if comparison.pairs:
        lines.append("Who picks a study by these scores has chosen on test data, and needs other speech to test it.")
    if untested:
        lines.append(f"Not scored on test data: {listing(untested)}.")
    return tuple(lines)


def _said(first: str, pair: Paired) -> str:
    told = (
        f"Of {pair.num_utterances} test utterances that {first} and {pair.name} both scored, {first} alone recognised "
        f"{pair.only_first} and {pair.name} alone {pair.only_other}; {first} recognised more in "
        f"{pair.sources_first} of {count(pair.num_sources, 'source')}, {pair.name} in {pair.sources_other}"
    )
    shown = f"{p_value(pair.p_value)}, sign test over sources, corrected"
    if pair.p_value >= ALPHA:
        return f"{told}: which is better is not shown ({shown})."
    better = first if pair.sources_first > pair.sources_other else pair.name
    return f"{told}: {better} is better on these sources ({shown})."


def _studies_table(comparison: Comparison) -> Table:
    columns = (
        Column("study", numeric=False),
        Column("complete trials"),
        Column("diverged"),
        Column("objective, development"),
        Column("seeds"),
        Column("test accuracy"),
        Column("test C_primary"),
        Column("p above chance"),
        Column("looks"),
        Column("wall time"),
    )
    rows = []
    for study in comparison.studies:
        found, test = study.found, study.found.test
        accuracy, c_primary = (test.accuracy, test.c_primary) if test else (None, None)
        corrected = test.corrected_p if test else None
        rows.append(
            (
                Cell(study.name),
                numeric(found.num_compared, str(found.num_compared)),
                numeric(study.diverged, str(study.diverged)),
                numeric(found.chosen_objective, _objective(study)),
                numeric(len(study.seeds), str(len(study.seeds))),
                numeric(accuracy, number(accuracy)),
                numeric(c_primary, number(c_primary)),
                numeric(corrected, number(corrected) if corrected is not None else NOTHING),
                numeric(found.num_evaluations, str(found.num_evaluations)),
                numeric(study.spent.wall, duration(study.spent.wall)),
            )
        )
    names = dict.fromkeys(study.found.objective_name for study in comparison.studies)
    caption = f"What development data chose in each study; the objective is {listing(names)}, p is corrected for looks"
    return Table(caption=caption, columns=columns, rows=tuple(rows))


def _objective(study: Compared) -> str:
    """Of the chosen trial; over the seeds of its configuration where there are several."""
    if len(study.seeds) > 1:
        found = mean_sd(study.seeds)
        return spread(found.mean, found.sd)
    return number(study.found.chosen_objective)


def _pairs_table(comparison: Comparison) -> Table:
    first = comparison.studies[0].name
    columns = (
        Column(f"{first} against", numeric=False),
        Column("shared utterances"),
        Column(f"only {first} right"),
        Column("only the other right"),
        Column("sources for / against / all", numeric=False),
        Column("p, corrected"),
    )
    rows = tuple(
        (
            Cell(pair.name),
            numeric(pair.num_utterances, str(pair.num_utterances)),
            numeric(pair.only_first, str(pair.only_first)),
            numeric(pair.only_other, str(pair.only_other)),
            Cell(f"{pair.sources_first} / {pair.sources_other} / {pair.num_sources}"),
            numeric(pair.p_value, number(pair.p_value)),
        )
        for pair in comparison.pairs
    )
    return Table(
        caption=f"Chosen trials on the test utterances that both scored, {first} first", columns=columns, rows=rows
    )
