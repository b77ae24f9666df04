"""The corpora that can be prepared by name: one file each, and one line here."""

from typing import Final

from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.corpora.espeak import Espeak
from lightning_modules.data.corpora.prompts import Prompts

CORPORA: Final[dict[str, Corpus]] = {corpus.card.name: corpus for corpus in (Prompts(), Espeak())}
