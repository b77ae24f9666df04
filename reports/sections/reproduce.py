"""What someone needs in order to get these numbers again."""

import json
import shlex
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from reports import selection as select
from reports.records import (
    TAG_COMMIT,
    TAG_DATA,
    TAG_DEVICE,
    TAG_DIFF,
    TAG_VERSIONS,
    LedgerEntry,
    StudyRecord,
    TrialState,
)
from reports.sections._blocks import Block, Cell, Code, Column, Section, Table, numeric
from reports.wording import NOTHING, count, duration, listing

WORKSPACE: Final = "--workspace"


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """The facts, and the chosen trial's configuration as the nested JSON that an attempt reads.

    Attributes:
        steps: shell commands, from the code to the study; those whose facts are not recorded are left out.
    """

    steps: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    chosen: int | None
    config: dict[str, Any]
    ledger: tuple[LedgerEntry, ...]
    scored: str


def summarise(study: StudyRecord) -> Reproduce:
    """Facts that are recorded; what is not is said to be missing."""
    trial = select.chosen(study) if select.gone(study) is None else None
    devices = sorted({t.tags[TAG_DEVICE] for t in study.trials if TAG_DEVICE in t.tags})
    data_hash = study.manifest.corpus.get("data_hash") or study.tags.get(TAG_DATA)
    tags = trial.tags if trial else study.tags  # the study's own run names the code that last opened it
    facts = {
        "commit of the chosen trial": tags.get(TAG_COMMIT),
        "uncommitted change, hash": tags.get(TAG_DIFF, "none") if TAG_COMMIT in tags else None,
        "data hash": data_hash,
        "which trials there are": _order(study),
        "seed of the study": str(study.manifest.seed),
        "seed of the chosen trial": str(trial.seed) if trial else None,
        "device": listing(devices) if devices else None,
        "MLflow experiment": study.experiment_id,
        "MLflow run of the study": study.run_id,
        "MLflow run of the chosen trial": trial.run_id if trial else None,
        "configuration hash of the chosen trial": trial.configuration_hash if trial else None,
        **(json.loads(tags[TAG_VERSIONS]) if TAG_VERSIONS in tags else study.manifest.versions),
    }
    return Reproduce(
        steps=_steps(study, tags.get(TAG_COMMIT)),
        facts=tuple((name, value or "not recorded") for name, value in facts.items()),
        chosen=trial.number if trial else None,
        config=nested(trial.params) if trial else {},
        ledger=study.ledger,
        scored=study.manifest.scored,
    )


def _order(study: StudyRecord) -> str:
    """What the sampler's proposals depend on; limits by wall clock end a fixed order."""
    config = study.manifest.config
    if config.get("ablation"):
        return "fixed: the arms of the design under seeds of their own"
    if not config.get("deterministic"):
        return "depends on which trial ended first: the same command may try others"
    fixed = f"fixed by the seed, {config.get('window')} under way at a time"
    num_late = sum(trial.state is TrialState.TIMED_OUT for trial in study.trials)
    limits = [f"a budget of time of {duration(study.manifest.time_budget_s)}"] if study.manifest.time_budget_s else []
    limits += [f"{count(num_late, 'trial')} timed out"] if num_late else []
    return f"{fixed}; but limits by the clock ended that: {listing(limits)}" if limits else fixed


def _steps(study: StudyRecord, commit: str | None) -> tuple[str, ...]:
    corpus, workspace = study.manifest.corpus.get("name"), _workspace(study.manifest.command)
    steps = (
        f"git checkout {commit}" if commit else "",
        f"lidstudy corpus prepare {corpus}{workspace}" if corpus else "",
        _base_step(study.manifest.config.get("ablation") or {}),
        study.manifest.command,
    )
    return tuple(step for step in steps if step)


def _base_step(ablation: dict[str, Any]) -> str:
    """What made the study of an ablation's base; where its trials come in another order, the base is another one."""
    command = ablation.get("of_command")
    return f"{command}  # trial {ablation['trial']} of it is the base" if command else ""


def _workspace(command: str) -> str:
    """The command's own ` --workspace PATH`: the corpus has to be prepared where the study looks for it."""
    words = shlex.split(command)
    for word, following in pairwise([*words, ""]):
        if word == WORKSPACE or word.startswith(f"{WORKSPACE}="):
            return f" {WORKSPACE} {shlex.quote(following if word == WORKSPACE else word.partition('=')[2])}"
    return ""


def nested(params: dict[str, Any]) -> dict[str, Any]:
    """`{"encoder.cell": "gru"}` as `{"encoder": {"cell": "gru"}}`."""
    tree: dict[str, Any] = {}
    for path, value in params.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def present(reproduce: Reproduce) -> tuple[Block, ...]:
    """Commands, facts, configuration, ledger."""
    blocks: list[Block] = []
    if reproduce.steps:
        blocks.append(Code(caption="The commands", text="\n".join(reproduce.steps), language="sh"))
    rows = tuple((Cell(name), Cell(value)) for name, value in reproduce.facts)
    columns = (Column("what", numeric=False), Column("value", numeric=False))
    blocks.append(Table(caption="Versions and identities", columns=columns, rows=rows))
    if reproduce.config:
        text = json.dumps(reproduce.config, indent=2, ensure_ascii=False)
        blocks.append(Code(caption=f"Configuration of trial {reproduce.chosen}", text=text, language="json"))
    if reproduce.ledger:
        blocks.append(_ledger_table(reproduce))
    return tuple(blocks)


def _ledger_table(reproduce: Reproduce) -> Table:
    columns = (
        Column("time", numeric=False),
        Column("trial"),
        Column("run", numeric=False),
        Column("data hash", numeric=False),
        Column("what", numeric=False, wrap=True),
        Column(f"{reproduce.scored}s"),
        Column("sources"),
        Column("speakers"),
    )
    rows = tuple(
        (
            Cell(entry.time),
            numeric(entry.trial, str(entry.trial)),
            Cell(entry.run_id),
            Cell(entry.data_hash or NOTHING),
            Cell(f"{entry.corpus}, {entry.split}: {', '.join(entry.conditions)}" if entry.corpus else "test data"),
            *(numeric(n, str(n)) for n in (entry.num_utterances, entry.num_sources, entry.num_speakers)),
        )
        for entry in reproduce.ledger
    )
    return Table(caption="Ledger: every evaluation on speech that was not trained on", columns=columns, rows=rows)


SECTION = Section(key="reproduce", title="How to reproduce", summarise=summarise, present=present)
