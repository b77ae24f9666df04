"""Which configurations a study may try: the grammar and the spaces that ship."""

from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent

SPACES: Final[dict[str, Path]] = {
    "demo": _FOLDER / "demo.toml",
    "architecture_clipping": _FOLDER / "architecture_clipping.toml",
}
"""The spaces that ship, by name. A new one is a .toml file beside this one and a line here."""
