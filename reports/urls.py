"""URLs of databases and servers, shown without their secrets.

A password must not reach an error, a log, a tag, study.json or a report: whatever may hold a URL goes through `masked`
before it is shown or written.
"""

import re
from typing import Final

MASK: Final = "***"

_USER_INFO: Final = re.compile(r"(?P<before>[A-Za-z][\w+.-]*://[^\s:@/?#]*):(?P<secret>[^\s]*)@")
"""From the first colon to the last @ that no blank parts from it: a password may hold @ and / unescaped."""

_SECRET_KEY: Final = re.compile(
    r"(?P<before>\b\w*(?:password|passwd|passfile|token|secret)\w*=)[^\s&;'\"]+", re.IGNORECASE
)


def masked(text: str) -> str:
    """A URL, or any text that holds URLs, with its passwords replaced by ***.

    Both `scheme://user:password@host` and `…?password=…` are masked (also token and secret). Where it is not clear
    where a password ends, too much is masked rather than too little.
    """
    return _SECRET_KEY.sub(rf"\g<before>{MASK}", _USER_INFO.sub(rf"\g<before>:{MASK}@", text))
