"""What every benchmark of the measuring does alike: its result is printed, judged and kept.

A result file names when, on which machine and with which versions it was made, the targets, and
what they came to.
"""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tuner.simulator.adapters import VERSION
from tuner.telemetry.machine import MachineTelemetry

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PACKAGES = ("tuner", "numpy", "optuna")
_NORMAL = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was promised, and what it came to.

    Attributes:
        what: one phrase.
        value: in the target's own unit.
        low: what it has to be at least; None where there is no such bound.
        high: what it may be at most; None where there is no such bound.
    """

    what: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def met(self) -> bool:
        """Whether it lies between the bounds."""
        above = self.low is None or self.value >= self.low
        return above and (self.high is None or self.value <= self.high)

    def describe(self) -> str:
        """One line: met or missed, the phrase, the value, the bounds."""
        bounds = [f">= {self.low:g}" if self.low is not None else ""]
        bounds.append(f"<= {self.high:g}" if self.high is not None else "")
        asked = " and ".join(bound for bound in bounds if bound)
        return f"{'met   ' if self.met else 'MISSED'} {self.what}: {self.value:.4g} ({asked})"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json FILE``."""
    from pathlib import Path

    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the result")


def finish(
    path: Path | None,
    targets: Sequence[Target],
    *,
    settings: Mapping[str, object],
    details: object,
    versions: Mapping[str, str] | None = None,
) -> int:
    """Print the targets, write the result file, and return the exit code: 1 where one is missed.

    Args:
        path: where to; None writes nothing.
        targets: what was promised.
        settings: of this run.
        details: all numbers behind the targets, as JSON takes them.
        versions: of what else took part.
    """
    for target in targets:
        print(target.describe())
    if path is not None:
        result = {
            "date_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": MachineTelemetry().describe(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in PACKAGES},
                "simulator": VERSION,
                **(versions or {}),
            },
            "settings": dict(settings),
            "targets": [{**asdict(target), "met": target.met} for target in targets],
            "details": details,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_plain(result), indent=1) + "\n", "utf-8")
    return 0 if all(target.met for target in targets) else 1


def share_interval(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a share, in per cent (Wilson, 1927)."""
    share, z2 = hits / total, _NORMAL**2
    middle = (share + z2 / 2 / total) / (1 + z2 / total)
    half = _NORMAL / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / 4 / total**2)
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def give_way() -> None:
    """Let other work on the machine go first; for the processes of a pool."""
    os.nice(10)


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON takes
    """Round numbers to six digits, so that a result file can be read and compared."""
    match value:
        case bool() | None | str() | int():
            return value
        case float():
            return float(f"{value:.6g}") if math.isfinite(value) else None
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case _:
            return [_plain(item) for item in value]
