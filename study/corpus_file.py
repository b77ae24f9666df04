"""Reading the file that describes a corpus of the user's own."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from lightning_modules.config.corpus import CorpusConfig
from lightning_modules.data.corpora import CORPORA, LAYOUTS
from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.corpora._user import UserCorpus
from lightning_modules.data.prepared import find_corpus
from lightning_modules.errors import ConfigError
from study.complaints import first_finding


def load_corpus(name_or_path: str) -> Corpus:
    """A corpus by name (`prompts`), or one of the user's own by the path of its .toml file.

    Raises:
        ConfigError: the file cannot be read, is no valid TOML, or has an invalid key; the message names file and key.
        CorpusError: there is no corpus of that name.
    """
    if not name_or_path.endswith(".toml"):
        return find_corpus(name_or_path)
    path = Path(name_or_path)
    try:
        config = CorpusConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot be read: {why}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_finding(error, model=CorpusConfig)}") from None
    if config.name in CORPORA:
        raise ConfigError(f"{path}: name: {config.name!r} is a corpus that comes with the program; take another.")
    return UserCorpus(config, layout=LAYOUTS[config.reader.kind], base=path.resolve().parent)
