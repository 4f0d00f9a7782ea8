"""How often is a configuration that is truly 5 % better found and confirmed?

    python benchmarks/true_winners.py [--studies 100] [--trials 30] [--workers 2] [--json FILE]

The service is as fast with every configuration, but for one step: in batches of 16 rows and more
a row takes 5 % less time. The user's own configuration stops at 8. Starts of the server differ
by 2 %, batches by 5 %. Each study is a whole one with the defaults of the command line, the
number of trials among them. It counts where the verdict is «proved» and the configuration that
is chosen is truly one of the better ones.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import cast

import numpy as np
from result_file import Target, add_option, finish, give_way, share_interval
from simulated_study import default, run_study

from tuner.commands.goals import PROOF_ROUNDS
from tuner.simulator.cost import CostModel

GAIN = 0.05
ROW_MS = 5.0
BETTER_FROM = 16
FIVE_PERCENT = CostModel(
    table_ms={
        1: ROW_MS,
        8: 8 * ROW_MS,
        16: 16 * ROW_MS / (1 + GAIN),
        128: 128 * ROW_MS / (1 + GAIN),
    },
    contention=1.0,
    cv=0.05,
    cv_start=0.02,
    batch_overhead_ms=0.0,
    request_overhead_ms=0.0,
    network_ms=0.02,
    timer_late_ms=0.0,
    client_ms=0.001,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one study came to.

    Attributes:
        found: the configuration that ranked first, or was proved, is truly a better one.
        confirmed: and the verdict is «proved».
        wrong: the verdict is «proved», but the configuration is not a better one.
        rounds: of the proof.
        gain_pct: what the proof made of the gain; None where there was none.
        proof_trials: servers that the proof started.
    """

    found: bool
    confirmed: bool
    wrong: bool
    rounds: int
    gain_pct: float | None
    proof_trials: int


def one(seed: int, *, trials: int) -> Case:
    """Run one study; in a process of the pool."""
    study = run_study(FIVE_PERCENT, seed=seed, trials=trials)
    answer = study.answer
    best = answer.ranked[0].record.params
    better = bool(best["dynamic_batching"]) and cast("int", best["max_batch_size"]) >= BETTER_FROM
    proof = answer.proof
    proved = answer.verdict == "proved"
    return Case(
        found=better,
        confirmed=better and proved,
        wrong=proved and not better,
        rounds=0 if proof is None else len(proof.rounds),
        gain_pct=None if proof is None or proof.gain is None else 100 * proof.gain.value,
        proof_trials=sum(record.proof_round is not None for record in study.records),
    )


def main() -> int:
    """Run the studies, print the power, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--trials", type=int, default=default("trials"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the first study")
    add_option(parser)
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.studies)
    with ProcessPoolExecutor(arguments.workers, initializer=give_way) as pool:
        cases = list(pool.map(partial(one, trials=arguments.trials), seeds))
    count = len(cases)
    found, confirmed = sum(c.found for c in cases), sum(c.confirmed for c in cases)
    wrong = sum(c.wrong for c in cases)
    low, high = share_interval(confirmed, count)
    gains = [c.gain_pct for c in cases if c.gain_pct is not None]
    proof_trials = float(np.mean([c.proof_trials for c in cases]))
    print(
        f"{count} studies of {arguments.trials} trials, some configurations truly 5 % better:\n"
        f"  one of those came first in {found}, was confirmed in {confirmed}"
        f" ({100 * confirmed / count:.1f} %, 95 % interval {low:.1f} to {high:.1f} %);"
        f" one that is no better in {wrong}\n"
        f"  the proof's gain was {float(np.mean(gains)):+.1f} % on average,"
        f" from {proof_trials:.1f} servers"
    )
    return finish(
        arguments.json,
        [Target(what="power at a true gain of 5 %", value=confirmed / count, low=0.8)],
        settings={
            **{name: getattr(arguments, name) for name in ("studies", "trials", "seed")},
            "proof_rounds": PROOF_ROUNDS,
            "all_rounds": False,
            **{name: default(name) for name in ("window", "precision")},
            "service": asdict(FIVE_PERCENT),
        },
        details={
            "found": found,
            "confirmed": confirmed,
            "confirmed_interval_pct": (low, high),
            "confirmed_wrongly": wrong,
            "proof_gain_pct": float(np.mean(gains)),
            "proof_servers": proof_trials,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
