"""Which configurations a study may try: the grammar and the spaces that ship."""

from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent

SPACES: Final[dict[str, Path]] = {
    name: _FOLDER / f"{name}.toml"
    for name in (
        "demo",
        "architecture",
        "architecture_clipping",
        "clipping",
        "attention",
        "hierarchy",
        "decoding",
        "vanishing_gradients",
        "unseen_sources",
        "lecture_table",
    )
}
"""The spaces that ship, by name. A new one is a .toml file beside this one and a line here."""
