"""Call something again and again, in a thread, while a block runs."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def ticking(sample: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Call ``sample`` on entry, every so many seconds, and on exit.

    All calls come one after the other, never two at once. ``sample`` must not raise.
    """
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(every_s):
            sample()

    sample()
    thread = threading.Thread(target=tick, name="telemetry", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sample()
