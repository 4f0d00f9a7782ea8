"""Where a trial's time goes, phase by phase."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stopwatch:
    """Adds up seconds by phase. Phases follow each other; they do not nest."""

    def __init__(self) -> None:
        self.phases_s: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside the block towards ``name``, however the block ends."""
        begun_s = time.monotonic()
        try:
            yield
        finally:
            self.add(name, time.monotonic() - begun_s)

    def add(self, name: str, seconds: float) -> None:
        """Count ``seconds`` of the wall clock towards ``name``."""
        self.phases_s[name] = self.phases_s.get(name, 0.0) + seconds
