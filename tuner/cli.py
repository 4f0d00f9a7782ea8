"""Where `tune` begins: it imports little, so that Ctrl-C ends it quietly from the first moment."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """End on SIGTERM as on Ctrl-C: Python does not unwind on SIGTERM by itself."""
    raise KeyboardInterrupt


def main() -> None:
    """The `tune` command."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from tuner.commands.app import start
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    start(sys.argv[1:])


if __name__ == "__main__":
    main()
