"""Errors that a user can mend.

They stand at the lowest layer because every layer raises them (docs/decisions/001-errors-at-the-lowest-layer.md). A
message says what was given, what is allowed and what to do; the command line prints it without a traceback and exits
with 2.
"""


class LidstudyError(Exception):
    """Something that the user can mend; its message says how."""


class ConfigError(LidstudyError):
    """A study, a search space or a configuration is not valid."""


class CorpusError(LidstudyError):
    """A corpus is missing, broken, or cannot answer the question that is asked of it."""


class TrialError(LidstudyError):
    """A trial could not be run."""


class StorageError(LidstudyError):
    """A workspace, a database or a record cannot be read or written."""


class StoreAwayError(StorageError):
    """A database does not answer now; the same call may work later, and nothing that was told before is lost."""
