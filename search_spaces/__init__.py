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
    )
    "demo": _FOLDER / "demo.toml",
    "architecture_clipping": _FOLDER / "architecture_clipping.toml",
    "vanishing_gradients": _FOLDER / "vanishing_gradients.toml",
}
"""The spaces that ship, by name. A new one is a .toml file beside this one and a line here."""
