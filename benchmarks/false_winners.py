"""How often is an improvement announced where there is none?

    python benchmarks/false_winners.py [--studies 200] [--trials 12] [--workers 2] [--json FILE]

All configurations of the service are equally fast: a row takes 5 ms however many are in a batch,
and instances share the device fully. What differs is noise: 5 % between starts of the server and
5 % from batch to batch. Each study is a whole one, search, proof and verdict, with the defaults of
the command line. A tool that ranks single numbers announces whatever came out highest; it is
judged on the same measurements.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from result_file import Target, add_option, finish, give_way, share_interval
from simulated_study import Study, default, run_study

from tuner.commands.goals import PROOF_ROUNDS
from tuner.simulator.cost import CostModel

ALL_THE_SAME = CostModel(
    per_row_ms=5.0,
    contention=1.0,
    cv=0.05,
    cv_start=0.05,
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
        announced: it says that another configuration is better.
        proved: and that this was proved.
        highest_pct: by how much the highest single number lies above the user's own.
        rival_announces: the highest single number is not the user's own.
        proof_pct: the gain over all rounds of the proof; None where nothing was worth one.
    """

    announced: bool
    proved: bool
    highest_pct: float
    rival_announces: bool
    proof_pct: float | None


def case(study: Study) -> Case:
    """Judge a study as the product does, and as one that ranks single numbers would."""
    answer = study.answer
    assert answer.default is not None, "every study measures the user's own configuration"
    highest = max(answer.ranked, key=lambda entry: entry.score)
    gain = answer.proof.gain if answer.proof is not None else None
    return Case(
        announced=answer.kind == "better",
        proved=answer.verdict == "proved",
        highest_pct=100 * (highest.score / answer.default.score - 1),
        rival_announces=highest is not answer.default,
        proof_pct=None if gain is None else 100 * gain.value,
    )


def one(seed: int, *, trials: int) -> Case:
    """Run one study; in a process of the pool."""
    return case(run_study(ALL_THE_SAME, seed=seed, trials=trials))


def main() -> int:
    """Run the studies, print what was announced, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--trials", type=int, default=12, help="configurations of each study")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the first study")
    add_option(parser)
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.studies)
    with ProcessPoolExecutor(arguments.workers, initializer=give_way) as pool:
        cases = list(pool.map(partial(one, trials=arguments.trials), seeds))
    count = len(cases)
    announced, rival = sum(c.announced for c in cases), sum(c.rival_announces for c in cases)
    proofs = [c.proof_pct for c in cases if c.proof_pct is not None]
    highest = float(np.mean([c.highest_pct for c in cases if c.rival_announces]))
    low, high = share_interval(announced, count)
    print(
        f"{count} studies of {arguments.trials} equal configurations:\n"
        f"  tuner announces an improvement in {announced} ({100 * announced / count:.1f} %,"
        f" 95 % interval {low:.1f} to {high:.1f} %)\n"
        f"  the highest single number announces one in {rival} ({100 * rival / count:.1f} %),"
        f" on average of {highest:.1f} %"
    )
    proof_pct = float(np.mean(proofs)) if proofs else math.nan
    if proofs:
        # The best of two front-runners is chosen by these very rounds, so the mean is above 0.
        print(f"  {len(proofs)} went into a proof, whose gain was {proof_pct:+.1f} % on average")
    share = 100 * announced / count
    return finish(
        arguments.json,
        [
            Target(what="studies with a false winner, %", value=share, high=5),
            Target(what="the same of the highest number, %", value=100 * rival / count, low=80),
        ],
        settings={
            **{name: getattr(arguments, name) for name in ("studies", "trials", "seed")},
            "proof_rounds": PROOF_ROUNDS,
            "all_rounds": False,
            **{name: default(name) for name in ("window", "precision")},
            "service": asdict(ALL_THE_SAME),
        },
        details={
            "announced": announced,
            "announced_interval_pct": (low, high),
            "highest_number_announced": rival,
            "highest_number_gain_pct": highest,
            "proofs": len(proofs),
            "proof_gain_pct": proof_pct,
            "kinds": Counter(f"announced {c.announced} proved {c.proved}" for c in cases),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
