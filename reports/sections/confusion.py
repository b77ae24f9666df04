"""Which language is taken for which, on development data and, for the champion, on test data."""

from dataclasses import dataclass

from reports.figures import confusion_figure
from reports.records import ScoreTable, StudyRecord
from reports.sections._blocks import Block, Cell, Column, Drawing, Section, Table, Text, numeric
from reports.wording import count, share


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Counts of what is scored: a row a spoken language, a column a recognised one."""

    split: str
    scored: str
    languages: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def worst(self) -> tuple[str, str, int, int] | None:
        """The largest share of a language that is taken for another: spoken, recognised, count, of how many."""
        pairs = [
            (count / sum(row), -i, -j, count, sum(row))
            for i, row in enumerate(self.counts)
            for j, count in enumerate(row)
            if i != j and count
        ]
        if not pairs:
            return None
        _, i, j, amount, total = max(pairs)
        return self.languages[-i], self.languages[-j], amount, total


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """The matrices that there are scores for."""

    matrices: tuple[Matrix, ...]


def summarise(study: StudyRecord) -> Confusion:
    """Confusion of the stored scores."""
    tables = (("development", study.scores_dev), ("test", study.scores_test))
    scored = study.manifest.scored
    return Confusion(
        matrices=tuple(_matrix(split, table, scored=scored) for split, table in tables if table and table.utterance)
    )


def _matrix(split: str, table: ScoreTable, *, scored: str) -> Matrix:
    from lightning_modules.scoring import confusion

    index = {language: i for i, language in enumerate(table.targets)}
    kept = [(row, index[lang]) for row, lang in zip(table.llr, table.language, strict=True) if lang in index]
    counts = confusion([row for row, _ in kept], [truth for _, truth in kept])
    return Matrix(
        split=split,
        scored=scored,
        languages=table.targets,
        counts=tuple(tuple(int(c) for c in row) for row in counts),
    )


def sentence(matrix: Matrix) -> str:
    """Which language is most often taken for which."""
    if matrix.worst is None:
        return f"On {matrix.split} data no {matrix.scored} is taken for another language."
    spoken, recognised, amount, total = matrix.worst
    return (
        f"On {matrix.split} data “{spoken}” is most often taken for “{recognised}”: "
        f"{amount} of {count(total, matrix.scored)} ({share(amount / total)})."
    )


def present(confusion: Confusion) -> tuple[Block, ...]:
    """A sentence, a figure and a table a split: the figures beside each other."""
    matrices = confusion.matrices
    return (*(Text(sentence(m)) for m in matrices), *map(_drawing, matrices), *map(_table, matrices))


def _drawing(matrix: Matrix) -> Drawing:
    return Drawing(
        key=f"confusion-{matrix.split}",
        alt=f"Confusion of languages on {matrix.split} data.",
        caption=f"{matrix.split.capitalize()} data: rows spoken, columns recognised, the shade a share of the row.",
        draw=lambda: confusion_figure(matrix.counts, matrix.languages),
    )


def _table(matrix: Matrix) -> Table:
    columns = (
        Column("spoken", numeric=False),
        *(Column(f"as {language}") for language in matrix.languages),
        Column("recognised"),
    )
    rows = tuple(_row(matrix, i) for i in range(len(matrix.languages)))
    return Table(caption=f"Confusion on {matrix.split} data, {matrix.scored}s", columns=columns, rows=rows)


def _row(matrix: Matrix, i: int) -> tuple[Cell, ...]:
    row = matrix.counts[i]
    recall = row[i] / sum(row) if sum(row) else None
    return (Cell(matrix.languages[i]), *(numeric(c, str(c)) for c in row), numeric(recall, share(recall)))


SECTION = Section(key="confusion", title="Confusion of languages", summarise=summarise, present=present)
