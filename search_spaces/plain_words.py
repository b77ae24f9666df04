"""What pydantic says of a value, in the words of a file: `must be true or false`."""

import re
from typing import Final

_WORDS: Final = {
    "Value error, ": "",
    "Input should be a valid tuple": "must be a list",
    "Input should be a valid dictionary or .*": "must be a section",
    "Input should be a valid string": "must be a text in quotes",
    "Input should be a valid integer.*": "must be a whole number",
    "Input should be a valid number.*": "must be a number",
    "Input should be a valid boolean.*": "must be true or false",
    "Input should be": "must be",
}


def in_plain_words(message: str) -> str:
    """A message of pydantic's, without its own terms."""
    for theirs, ours in _WORDS.items():
        message = re.sub(f"^{theirs}", ours, message)
    return message
