"""The corpora that can be prepared by name, and the layouts of users' own: one file each, and one line here."""

from typing import Final

from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.corpora._layout import Layout
from lightning_modules.data.corpora.common_language import CommonLanguage
from lightning_modules.data.corpora.common_voice import CommonVoice
from lightning_modules.data.corpora.espeak import Espeak
from lightning_modules.data.corpora.fleurs import Fleurs
from lightning_modules.data.corpora.folders import Folders
from lightning_modules.data.corpora.kaldi import Kaldi
from lightning_modules.data.corpora.lhotse import LhotseCuts
from lightning_modules.data.corpora.lre17 import LRE17
from lightning_modules.data.corpora.prompts import Prompts
from lightning_modules.data.corpora.prompts_further import PromptsFurther
from lightning_modules.data.corpora.table import Table
from lightning_modules.data.corpora.voxlingua107 import VoxLingua107

CORPORA: Final[dict[str, Corpus]] = {corpus.card.name: corpus for corpus in (Prompts(), PromptsFurther(), Espeak())}

LAYOUTS: Final[dict[str, Layout]] = {
    layout.card.kind: layout
    for layout in (
        CommonLanguage(),
        CommonVoice(),
        Fleurs(),
        Folders(),
        Kaldi(),
        LhotseCuts(),
        LRE17(),
        Table(),
        VoxLingua107(),
    )
}
