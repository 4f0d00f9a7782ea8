"""Everything that `tune` raises on purpose, in one tree.

::

    TunerError                   catch this to catch them all
    ├── UsageError               what was typed or written is wrong             exit code 2
    │   └── ConfigSyntaxError    a config.pbtxt that does not parse: path, line, column
    ├── MachineError             this machine lacks something                   exit code 3
    ├── ConfigurationRejected    the configuration is at fault: does not load, wrong answers
    └── TrialAborted             we or the machine failed: nothing is known of the configuration

The message of each says what happened, where, and what to do next. Errors of the libraries
underneath are translated where those libraries are called; nothing else of theirs gets out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path


class TunerError(Exception):
    """Root of the tree. ``exit_code`` is what `tune` ends with when nothing catches it."""

    exit_code: ClassVar[int] = 1


class UsageError(TunerError):
    """The command line or a file of the user's is wrong."""

    exit_code = 2


class ConfigSyntaxError(UsageError):
    """A config.pbtxt that does not parse.

    Args:
        path: the file.
        line: 1-based.
        column: 1-based, in characters.
        what: what is wrong there, without a full stop.
    """

    def __init__(self, path: Path | str, line: int, column: int, what: str) -> None:
        super().__init__(f"{path}:{line}:{column}: {what}.")
        self.path = path
        self.line = line
        self.column = column


class MachineError(TunerError):
    """This machine lacks a part that the run needs."""

    exit_code = 3


class ConfigurationRejected(TunerError):  # noqa: N818 - an outcome, named as the record names it
    """The configuration cannot serve: it does not load, runs out of memory or answers wrongly.

    Args:
        reason: one sentence.
        evidence: what shows it, such as the end of the server's log.
    """

    def __init__(self, reason: str, evidence: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.evidence = evidence


class TrialAborted(TunerError):  # noqa: N818 - an outcome, named as the record names it
    """The trial ended through no fault of its configuration; it is tried again."""
