"""As good for less: between configurations that a proof cannot tell apart, the leaner one.

Leaner is what takes clearly less memory, or as much of it and keeps its users waiting clearly
less: a load of twice as many requests that yields no more doubles the wait for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.judge.proof import FEWEST_ROUNDS, gain_over
from tuner.measure.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.judge.goal import Objective
    from tuner.judge.proof import Proof
    from tuner.judge.rank import Ranked
    from tuner.measure.estimate import Estimate
    from tuner.measure.measurement import Measurement
    from tuner.measure.metrics import Metric

_MEMORY = ("gpu_memory_peak_mb", "host_memory_peak_mb")
"""Of the GPUs; where there are none, of the host."""

_WAIT = "latency_mean_ms"
"""Of a request, seen from the client."""

_LESS = 0.9
"""What takes less than this share of another's is worth a change."""

AS_GOOD = 0.05
"""By more than this share of the other's, «no worse but for the noise» is not believed: so noisy
a comparison would hide anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spared:
    """What would be proved to gain most, if it were not for a leaner one that does as well.

    Attributes:
        entry: the configuration that takes more.
        gain: its gain over the leaner one, from the rounds in which both were measured.
    """

    entry: Ranked
    gain: Estimate


def saving(this: Measurement, other: Measurement) -> Metric | None:
    """What one level takes clearly less of than another.

    Returns:
        Its row; None where it is not leaner, or where memory was not measured.
    """
    on_gpu = METRICS[_MEMORY[0]].value(this) is not None
    for row in (METRICS[_MEMORY[0 if on_gpu else 1]], METRICS[_WAIT]):
        mine, theirs = row.value(this), row.value(other)
        if mine is None or theirs is None or mine * _LESS > theirs:
            return None
        if mine < _LESS * theirs:
            return row
    return None


def leaner(this: Measurement, other: Measurement) -> bool:
    """Whether one level takes clearly less memory than another, or as much and a shorter wait."""
    return saving(this, other) is not None


def leanest_as_good(
    lead: Proof, known: Sequence[Proof], entries: Mapping[int, Ranked], objective: Objective
) -> tuple[Proof, Spared] | None:
    """The leanest candidate that does as well as the one that was proved to gain most.

    Args:
        lead: that one.
        known: all proofs.
        entries: trial number → configuration; has all of them that keep the limits.
        objective: what is compared.

    Returns:
        Its proof and what it is taken instead of; None where nothing leaner does as well.
    """
    best, spared = lead, None
    for proof in known:
        entry = entries.get(proof.number)
        if entry is None or proof.standing != "proved":
            continue
        gain = gain_over(lead, proof, objective)
        if gain is None or gain.n_effective < FEWEST_ROUNDS:
            continue
        if gain.low > 0 or gain.value > AS_GOOD:
            continue
        if leaner(entry.level, entries[best.number].level):
            best, spared = proof, Spared(entry=entries[lead.number], gain=gain)
    return None if spared is None else (best, spared)
