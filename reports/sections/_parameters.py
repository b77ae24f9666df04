"""Searched parameters as columns: those that exist only under a choice stand in that choice's own column."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reports.records import SearchedParameter
from reports.sections._blocks import Cell
from reports.wording import parameter, short_names

_KIND = ".kind"


@dataclass(frozen=True, kw_only=True)
class ParameterColumn:
    """A column: `clipping`, with `norm, 14.3` in its cells.

    Attributes:
        title: its heading.
        path: what it shows.
        details: paths of parameters that exist under some of its values alone, with their short names.
    """

    title: str
    path: str
    details: tuple[tuple[str, str], ...] = ()

    @property
    def hint(self) -> str:
        """The whole path, and what follows the comma."""
        names = " or ".join(name for _, name in self.details)
        return f"{self.path}, then its {names}" if names else self.path

    def cell(self, params: Mapping[str, object]) -> Cell:
        """The values of one configuration, sorted by the first where it is a number."""
        value = params.get(self.path)
        details = [parameter(found) for path, _ in self.details if (found := params.get(path)) is not None]
        text = ", ".join([parameter(value), *details])
        if isinstance(value, int | float) and not isinstance(value, bool):
            return Cell(text, sort=float(value))
        return Cell(text, sort=None if value is None else text)


def parameter_columns(searched: Iterable[SearchedParameter]) -> tuple[ParameterColumn, ...]:
    """One for each parameter that no other parameter's column holds, in the order of the space."""
    found = tuple(searched)
    paths = [p.path for p in found]
    free = {p.path for p in found if not p.when}  # under a condition itself, a parameter keeps a column of its own
    names = short_names(paths)
    holder = {p.path: next(iter(p.when)) for p in found if len(p.when) == 1 and not {*p.when}.isdisjoint(free)}
    return tuple(
        ParameterColumn(
            title=names[path].removesuffix(_KIND),
            path=path,
            details=tuple((other, names[other]) for other in paths if holder.get(other) == path),
        )
        for path in paths
        if path not in holder
    )
