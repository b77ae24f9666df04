"""`lidstudy corpus prepare|describe`."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.corpora import LAYOUTS
from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.feature_building import build_feature_store
from lightning_modules.data.feature_store import FeatureStore, feature_store_path
from lightning_modules.data.manifest import Split
from lightning_modules.data.prepared import (
    PreparedCorpus,
    corpus_folder,
    describe_corpus,
    describe_languages,
    open_corpus,
    prepare_corpus,
    prepared_names,
    verify,
)
from lightning_modules.data.splits import check_splits
from lightning_modules.errors import StorageError
from study.commands.console import folder_of_figures, make_console, progress_bars
from study.corpus_file import load_corpus
from study.leaks import in_words, known_leaks, leaks_file, look_for_leaks
from study.workspace import Workspace, open_workspace

MAX_REASONS = 20
MAX_SOURCES = 3
"""That a row names."""
SPACE_A_DOWNLOAD = 3
MISSING: Final[dict[Split, str]] = {
    "train": "no study can train on it",
    "dev": "no study can choose by it",
    "test": "no study can be scored on it",
}


def prepare(name_or_path: str, folder: Path) -> None:
    """Prepares a corpus and its default features, then shows what it holds."""
    console = make_console()
    wanted = None if name_or_path in prepared_names(folder) else load_corpus(name_or_path)  # goes on with features
    workspace = open_workspace(folder, writable=True)
    if wanted is not None:
        _check_room(wanted, workspace)
    with progress_bars(console) as progress:
        if wanted is None:
            was_there, corpus = True, open_corpus(name_or_path, workspace.root)
        else:
            was_there = wanted.card.name in prepared_names(workspace.root)
            corpus = prepare_corpus(wanted, workspace.root, progress=progress)
        if was_there:
            verify(corpus, progress=progress)
        check_splits(corpus.recordings, allow_shared=corpus.allow_shared)
        path = feature_store_path(corpus, FeaturesConfig(), workspace.root)
        if not path.exists():
            build_feature_store(corpus, FeaturesConfig(), workspace=workspace.root, progress=progress)
        look_for_leaks(corpus, FeatureStore.open(path), progress=progress)
    if was_there:
        console.print(
            f"was prepared before: {len(corpus.recordings)} recordings are as they were; what they were made from was "
            f"not read again (remove {corpus.root} for that)",
            markup=False,
            soft_wrap=True,
        )
    print_corpus(console, corpus)


def _check_room(corpus: Corpus, workspace: Workspace) -> None:
    """Packages, what they unpack to, audio and features lie side by side for a while."""
    name, needed = corpus.card.name, SPACE_A_DOWNLOAD * corpus.card.download_bytes
    free = shutil.disk_usage(workspace.root).free
    if not corpus_folder(name, workspace.root).exists() and free < needed:
        raise StorageError(
            f"corpus {name} needs about {needed / 1e6:,.0f} MB while it is prepared, but {workspace.root} has "
            f"{free / 1e6:,.0f} MB free; make room or choose another --workspace."
        )


def describe(name: str, folder: Path, *, sources: bool, figures: Path | None) -> None:
    """Shows what a prepared corpus holds, and draws it where a folder is named."""
    corpus = open_corpus(name, open_workspace(folder).root)
    print_corpus(make_console(), corpus, sources=sources)
    if figures is not None:
        _draw(corpus, figures)


def _draw(corpus: PreparedCorpus, folder: Path) -> None:
    from lightning_modules.data.description import describe as in_numbers
    from reports.figures import corpus_figure, to_png, to_svg_file

    leaks = known_leaks(corpus)
    num_leaks = None if leaks is None else len(leaks)
    description = in_numbers(corpus.recordings, corpus=corpus.root, num_leaks=num_leaks)
    with folder_of_figures(folder):
        (folder / f"{corpus.name}.png").write_bytes(to_png(corpus_figure(description)))
        (folder / f"{corpus.name}.svg").write_text(to_svg_file(corpus_figure(description)), encoding="utf-8")
    make_console().print(f"drawn: {folder / corpus.name}.png and .svg", markup=False)


def layouts() -> None:
    """A few lines a layout."""
    console = make_console()
    for kind, layout in LAYOUTS.items():
        card = layout.card
        console.print(f"[bold]{kind}[/bold]  {escape(card.title)}")
        console.print(f"    {escape(card.layout)}", highlight=False)
        console.print(f"    speakers: {escape(card.speakers)}", highlight=False)
        splits = "has splits of its own" if card.has_splits else "has no splits of its own"
        terms = ", ".join(part for part in (splits, card.licence, card.url) if part)
        console.print(f"    {terms}", highlight=False, style="dim")


def print_corpus(console: Console, corpus: PreparedCorpus, *, sources: bool = False) -> None:
    """A row a split and language, or a row a source of each; what was skipped; what dev and test share."""
    console.print(f"[bold]{escape(corpus.card.title)}[/bold]  (data hash {corpus.data_hash})")
    console.print(f"terms: {'; '.join(corpus.card.licences)}", markup=False, soft_wrap=True)
    console.print(_table_of_sources(corpus) if sources else _table_of_languages(corpus))
    _print_skipped(console, corpus)
    _print_damaged(console, corpus)
    for note in _notes(corpus):
        console.print(f"note: {note}", markup=False)


def _table_of_languages(corpus: PreparedCorpus) -> Table:
    table = _new_table("split", "language", counted=("hours", "utterances", "speakers", "sources"))
    table.add_column("")
    for row in describe_languages(corpus):
        named = ", ".join(row.sources[:MAX_SOURCES]) + (", …" if len(row.sources) > MAX_SOURCES else "")
        counts = (row.num_recordings, row.num_speakers, len(row.sources))
        table.add_row(row.split, escape(row.language), f"{row.hours:.2f}", *map(str, counts), escape(named))
    return table


def _table_of_sources(corpus: PreparedCorpus) -> Table:
    table = _new_table("split", "language", "source", counted=("utterances", "minutes", "speakers"))
    for row in describe_corpus(corpus):
        counts = (str(row.num_recordings), f"{row.minutes:.1f}", str(row.num_speakers))
        table.add_row(row.split, escape(row.language), escape(row.source), *counts)
    return table


def _new_table(*named: str, counted: Sequence[str]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in named:
        table.add_column(column)
    for column in counted:
        table.add_column(column, justify="right")
    return table


def _notes(corpus: PreparedCorpus) -> Iterator[str]:
    """What a reader of results must know."""
    for shared in check_splits(corpus.recordings, allow_shared=corpus.allow_shared):
        yield f"development and test share the speaker {shared.speaker} ({shared.language}), but no recording"
    yield from _missing(corpus)
    leaks = known_leaks(corpus)
    if leaks:
        yield f"{in_words(leaks)}; all are listed in {leaks_file(corpus)}"
    elif leaks is None:
        yield "nobody has looked for the same audio on both sides of a split: a sweep on this corpus does so first"
    else:
        yield "no audio was found on both sides of a split, also in other codecs, levels and cuts"
    yield from corpus.warnings
    for note in dict.fromkeys(source.note for source in corpus.card.sources if source.note):
        noted = [f"{source.name} ({source.language})" for source in corpus.card.sources if source.note == note]
        is_of_all = len(noted) == len(corpus.card.sources) > 1
        yield f"{'all sources' if is_of_all else ', '.join(noted)}: {note}"


def _missing(corpus: PreparedCorpus) -> Iterator[str]:
    """Splits that have nothing, in all languages or in some."""
    found = {split: {each.language for each in corpus.recordings if each.split == split} for split in MISSING}
    languages = {each.language for each in corpus.recordings}
    for split, consequence in MISSING.items():
        if missing := sorted(languages - found[split]):
            named = ", ".join(missing) if found[split] else "this corpus"
            yield f"no {split} speech in {named}: {consequence}"


def _print_skipped(console: Console, corpus: PreparedCorpus) -> None:
    if not corpus.skipped:
        return
    said = "1 file was" if len(corpus.skipped) == 1 else f"{len(corpus.skipped)} files were"
    console.print(f"{said} skipped (listed in {corpus.root / 'corpus.json'}):")
    counts = Counter(
        re.sub(r"^(the same as|another file of) .*", r"\1 another", each.reason) for each in corpus.skipped
    )
    reasons = counts.most_common()
    for reason, count in reasons[:MAX_REASONS]:
        console.print(f"  {count:>5}  {reason}", markup=False)
    if others := reasons[MAX_REASONS:]:
        console.print(f"  {sum(count for _, count in others):>5}  for {len(others)} other reasons", markup=False)


def _print_damaged(console: Console, corpus: PreparedCorpus) -> None:
    if not corpus.damaged:
        return
    counts = Counter(re.sub(r" \(.*?\)", "", each.reason) for each in corpus.damaged).most_common()
    said = "1 file is" if len(corpus.damaged) == 1 else f"{len(corpus.damaged)} files are"
    console.print(
        f"{said} used though damaged (listed in "
        f"{corpus.root / 'corpus.json'}): {'; '.join(f'{reason} ({count})' for reason, count in counts)}",
        markup=False,
        soft_wrap=True,
    )
