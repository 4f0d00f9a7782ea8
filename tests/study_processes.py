"""The processes that were started for a study, as /proc shows them, those in containers too.

They are found without the code under test, by the mark that every one of them inherits.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def processes_of(study: Path) -> list[int]:
    """Ids of those of a study, or of all studies in a folder.

    A zombie has no environment left and does not count as a process.
    """
    mark = os.fsencode(f"TUNER_STUDY={study.resolve()}/")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is not ours
            entries = (process / "environ").read_bytes().split(b"\0")
            if any((entry + b"/").startswith(mark) for entry in entries):
                found.append(int(process.name))
    return found


def kill_processes_of(study: Path) -> None:
    """Send each SIGKILL, unless it ended with one before it, as all of a container may."""
    for pid in processes_of(study):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
