"""What is wanted, from the words of the command line: objectives, limits, load, patience."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import UsageError
from tuner.judge.front import FIRST_WEIGHTS
from tuner.judge.goal import Limit, Objective
from tuner.judge.parse import parse_bound, parse_limit, parse_objective, parse_objectives
from tuner.judge.proof import FEWEST_ROUNDS
from tuner.measure.measurement import OpenLoop
from tuner.request import Sampler
from tuner.search.patience import PATIENCE
from tuner.study.length import carried_per_s

if TYPE_CHECKING:
    from collections.abc import Sequence

PROOF_ROUNDS = 5
"""A true gain of 5 % is proved in 81 to 93 of 100 studies by five rounds, in 79 by four."""

_HIGHEST_RATE = 100_000.0
"""Requests per second, several times what one perf_analyzer can send."""


def read_limits(
    limits: Sequence[str] | None,
    *,
    p99: str | None,
    min_throughput: str | None,
    max_gpu_memory: str | None,
) -> list[Limit]:
    """Every limit that was named, in whichever way.

    Raises:
        UsageError: one is not of its form.
    """
    named = (
        ("p99", p99),
        ("throughput", min_throughput),
        ("gpu_memory_peak", max_gpu_memory),
    )
    return [
        *(parse_limit(text) for text in limits or ()),
        *(parse_bound(name, text) for name, text in named if text is not None),
    ]


def read_open_loop(rate: float | None, *, poisson: bool) -> OpenLoop | None:
    """Requests by the clock; None where clients wait for their answers.

    Raises:
        UsageError: no load generator sends this rate, or it is missing.
    """
    if rate is None:
        if poisson:
            raise UsageError("--poisson says how requests of a --rate come; name one.")
        return None
    if rate <= 0:
        raise UsageError(f"--rate {rate:g} sends nothing; name a number above 0.")
    if not rate <= _HIGHEST_RATE:  # nan is neither
        raise UsageError(f"--rate {rate:g} cannot be sent; name a number up to {_HIGHEST_RATE:g}.")
    return OpenLoop(rate_per_s=rate, poisson=poisson)


def carries(load: OpenLoop, request_batch: int) -> Limit:
    """Latency counts where the load is carried at all."""
    return Limit(metric="throughput_per_s", bound=carried_per_s(load) * request_batch)


def read_objectives(
    texts: Sequence[str] | None, open_loop: OpenLoop | None
) -> tuple[Objective, Objective | None]:
    """What to improve, and what else where a front is wanted.

    Raises:
        UsageError: there is no such metric, or they do not go together.
    """
    throughput = parse_objective("throughput")
    objectives = parse_objectives(texts or ["throughput" if open_loop is None else "mean"])
    if open_loop is not None and throughput in objectives:
        raise UsageError("with --rate the throughput is given; name a latency, such as p99.")
    return objectives[0], objectives[1] if len(objectives) > 1 else None


def read_patience(patience: int | None, sampler: Sampler, *, front: bool) -> int:
    """After how many proposals that promise nothing to stop; 0 for never.

    Args:
        patience: as it was typed.
        sampler: what proposes.
        front: there are two objectives, and each proposal looks in another direction.

    Raises:
        UsageError: only our own search says what it expects.
    """
    if sampler is Sampler.AUTO:
        usual = len(FIRST_WEIGHTS) if front else PATIENCE
        return usual if patience is None else patience
    if patience:
        raise UsageError(
            f"--patience needs --sampler auto: {sampler.value} does not say what it expects of a "
            "configuration."
        )
    return 0


def read_proof_rounds(rounds: int | None) -> int:
    """Rounds of proof at the most, and refuse those that cost time and can prove nothing.

    Raises:
        UsageError: there are some, and too few.
    """
    if rounds is None:
        return PROOF_ROUNDS
    if 0 < rounds < FEWEST_ROUNDS:
        raise UsageError(
            f"--proof-rounds {rounds} cannot prove anything: an interval from fewer than "
            f"{FEWEST_ROUNDS} rounds is of no use. Name {FEWEST_ROUNDS} or more, or 0 for none."
        )
    return rounds
