"""What was asked for, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.report import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.study.spec import StudySpec


def settings(spec: StudySpec) -> dict[str, str]:
    """What was asked for, name → text."""
    bounds = spec.bounds
    return {
        "weights": spec.weights or "those that the configuration names",
        "objective": ", then ".join(
            f"{one.row.goal} {one.row.header}" for one in spec.front_of or (spec.objective,)
        ),
        "limits": _joined([limit.describe() for limit in spec.limits]),
        "sampler": f"{spec.sampler}, seed {spec.seed}",
        "started from": _joined(spec.started_from),
        "highest max_batch_size": str(bounds.max_batch_size),
        "highest max_queue_delay_microseconds": str(bounds.max_queue_delay_microseconds),
        "most instances": str(bounds.max_instance_count),
        "rows in a request": str(spec.request_batch),
        "load": _load(spec),
        "precision": f"±{numbers.share(spec.precision)}",
    }


def _load(spec: StudySpec) -> str:
    if spec.open_loop is None:
        return f"closed loop, up to {spec.max_concurrency} requests in flight"
    how = "at random moments (Poisson)" if spec.open_loop.poisson else "evenly"
    return f"{numbers.plain(spec.open_loop.rate_per_s)} requests/s, {how}"


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(parts) or "none"
