"""Replay the search against tables of measured levels: how many trials until nearly the best?

    python benchmarks/search_efficiency.py TABLE.csv … --seeds 100 --trials 30 [--p99-ms X]
        [--algorithms ours,random,tpe,gp,quick] [--workers N] [--json]

A table has one row a measured level: ``max_batch_size, instance_count,
max_queue_delay_microseconds, concurrency, throughput_per_s, p99_ms, gpu_memory_mb, status``; an
``oom`` row has no numbers; a column that never varies is not a knob. A configuration's value is
its highest throughput over its levels, with ``--p99-ms`` over those that keep the limit.

All algorithms start from the same configuration, drawn by the seed among those that a user who
has not tuned may have (fewest instances, no delay, a batch of at most 8), and all climb the same
ladder of levels; only ours says with each configuration at which load to begin. ``quick`` is our
own hill climbing after the description of Model Analyzer's quick mode; it ends when it is done.
Where nothing in a table keeps the limit, nothing is found: 0 after each trial.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from quick_mode import Quick
from replay_table import Table

from tuner.search.model_guided import ModelGuided
from tuner.search.optuna_samplers import OptunaProposer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.search.port import Proposer, Seen
    from tuner.space.knobs import SearchSpace

ALGORITHMS = ("ours", "random", "tpe", "gp", "quick")
NEARLY = 0.95


def proposer(name: str, table: Table, space: SearchSpace, seed: int) -> Proposer:
    """The algorithm of that name."""
    match name:
        case "ours":
            return ModelGuided(
                space, seed=seed, max_concurrency=max(table.loads), p99_limit_ms=table.p99_ms
            )
        case "random" | "tpe" | "gp":
            return OptunaProposer(space, sampler=name, seed=seed)
        case "quick":
            return Quick(space)
        case _:
            raise ValueError(f"no algorithm {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One seed of one algorithm on one table.

    Attributes:
        found: best so far over best in the table, after each trial.
        oom: launches that ran out of memory.
        levels: levels measured.
        slowest_s: the longest that one proposal took.
        gains: expected gain of each proposal, where the algorithm says one.
    """

    found: tuple[float, ...]
    oom: int
    levels: int
    slowest_s: float
    gains: tuple[float | None, ...]

    @property
    def trials(self) -> float:
        """Trials until nearly the best; infinite where they did not suffice."""
        return next((i + 1 for i, found in enumerate(self.found) if found >= NEARLY), math.inf)


def replay(path: Path, p99_ms: float | None, name: str, seed: int, trials: int) -> Replay:
    """Run one search of that name against a table."""
    table = load(path, p99_ms)
    return follow(proposer(name, table, table.space(seed), seed), table, trials)


@cache
def load(path: Path, p99_ms: float | None) -> Table:
    """Read a table once a process; its trials are remembered."""
    return Table(path, p99_ms)


def follow(searcher: Proposer, table: Table, trials: int) -> Replay:
    """Do what an algorithm proposes, trial after trial."""
    history: list[Seen] = []
    found: list[float] = []
    gains: list[float | None] = []
    slowest = 0.0
    while len(found) < trials:
        began = time.perf_counter()
        proposal = searcher.propose(history)
        slowest = max(slowest, time.perf_counter() - began)
        if proposal is None:
            found += [max(found, default=0.0)] * (trials - len(found))
            break
        gains.append(proposal.expected_gain)
        start = proposal.saturation
        history.append(table.trial(proposal.params, start.concurrency if start else None))
        found.append(max(found[-1] if found else 0.0, table.found(history[-1])))
    return Replay(
        found=tuple(found),
        oom=sum(seen.rejected for seen in history),
        levels=sum(len(seen.levels) for seen in history),
        slowest_s=slowest,
        gains=tuple(gains),
    )


def summary(replays: Sequence[Replay]) -> dict[str, Any]:
    """One algorithm on one table; null for a number of trials that did not suffice."""
    found = np.array([one.found for one in replays])
    trials = np.array([one.trials for one in replays])
    oom = [one.oom for one in replays]
    return {
        "median": [round(float(x), 4) for x in np.median(found, axis=0)],
        "p5": [round(float(x), 4) for x in np.percentile(found, 5, axis=0)],
        "trials_to_95": {
            "median": whole(np.percentile(trials, 50, method="higher")),
            "p95": whole(np.percentile(trials, 95, method="higher")),
        },
        "oom_launches": {"median": float(np.median(oom)), "max": max(oom)},
        "levels_measured": {"median": float(np.median([one.levels for one in replays]))},
    }


def whole(trials: float) -> int | None:
    """A number of trials; None for infinitely many."""
    return int(trials) if math.isfinite(trials) else None


def algorithms(text: str) -> list[str]:
    """Names between commas, each once."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in ALGORITHMS:
            raise argparse.ArgumentTypeError(
                f"no algorithm {name or 'without a name'}; there are {', '.join(ALGORITHMS)}"
            )
    return names


def at_least_one(text: str) -> int:
    """A whole number from 1 on."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def milliseconds(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds above 0")
    return value


def options() -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("tables", nargs="+", type=Path, metavar="TABLE.csv", help="table of measured levels")
    add("--seeds", type=at_least_one, default=100, help="searches of each kind (%(default)s)")
    add("--trials", type=at_least_one, default=30, help="trials of each search (%(default)s)")
    add("--p99-ms", type=milliseconds, metavar="MS", help="limit on p99 latency (none)")
    add(
        "--algorithms",
        type=algorithms,
        default=list(ALGORITHMS),
        metavar="NAMES",
        help=f"with commas between them, of {', '.join(ALGORITHMS)} (all)",
    )
    cores = os.cpu_count() or 1
    add("--workers", type=at_least_one, default=cores, help="processes at once (one a core)")
    add("--json", action="store_true", help="print JSON in place of a line an algorithm")
    return parser.parse_args()


def main() -> None:
    """Replay, and print JSON or a short table."""
    asked = options()
    for path in asked.tables:
        load(path, asked.p99_ms)  # a broken one is refused before anything runs
    result: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(asked.workers) as pool:
        for path in asked.tables:
            for name in asked.algorithms:
                runs = [
                    pool.submit(replay, path, asked.p99_ms, name, seed, asked.trials)
                    for seed in range(asked.seeds)
                ]
                replays = [run.result() for run in runs]
                result.setdefault(str(path), {})[name] = summary(replays)
                if not asked.json:
                    slowest = max(one.slowest_s for one in replays)
                    print(line(path.stem, name, result[str(path)][name], slowest), flush=True)
    if asked.json:
        print(json.dumps({"tables": result}, indent=1))


def line(table: str, name: str, numbers: dict[str, Any], slowest_s: float) -> str:
    """One algorithm on one table, for people."""
    trials, oom = numbers["trials_to_95"], numbers["oom_launches"]
    return (
        f"{table:20} {name:7} trials to 95 %: median {trials['median'] or 'never':>5}, "
        f"p95 {trials['p95'] or 'never':>5}; out of memory at most {oom['max']}; "
        f"levels {numbers['levels_measured']['median']:.0f}; slowest proposal {slowest_s:.2f} s"
    )


if __name__ == "__main__":
    main()
