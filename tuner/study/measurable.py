"""Whether what is asked for can be measured where the study runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.measure.metrics import METRICS
from tuner.measure.record import Measured

if TYPE_CHECKING:
    from tuner.study.ledger import Ledger


def require_measurable(ledger: Ledger) -> None:
    """Stop after the first trial, before hours are spent on what nobody could rank or accept.

    A percentile is let through: where it is missing the run was too short for it, and other
    configurations may be faster.

    Raises:
        UsageError: the user's own configuration was measured, and an objective or a limit is on
            something that was not.
    """
    spec, baseline = ledger.spec, ledger.baseline
    if baseline is None or not isinstance(baseline.record.outcome, Measured):
        return
    wanted = {limit.metric: f"the limit {limit.describe()}" for limit in spec.limits}
    objectives = spec.front_of or (spec.objective,)
    wanted |= {one.metric: f"the objective {one.row.header}" for one in objectives}
    levels = baseline.record.outcome.levels
    for key, what in wanted.items():
        if key.startswith("latency_p") or any(METRICS[key].read(lv) is not None for lv in levels):
            continue
        raise UsageError(
            f"{what} is of no use here: your own configuration was put under load, and nothing "
            f"could read its {METRICS[key].header}. Leave that out and start over with --fresh; "
            "what this machine measures with: tune doctor"
        )
