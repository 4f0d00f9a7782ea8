"""Does the search need a third of the trials? All tables, with and without a p99 limit.

    python benchmarks/search_targets.py [--seeds 100] [--trials 30] [--workers 2] [--json FILE]

Replays (see ``search_efficiency``) our search, Optuna's random sampler, its TPE as it comes and
hill climbing in the manner of Model Analyzer's quick mode. There are three groups of tables:
``chosen_on`` are those on which the constants of the search were chosen, ``held_out`` were not
replayed once before that was done, ``real`` were measured on real servers. Each limit follows from
its table by a rule (``Table.binding_limit_ms``).

A search that does not come within 5 % of the best counts as one trial more than it had. By how
much another algorithm needs more trials is a paired question: for each seed, the geometric mean
over the tables of its trials over ours; Wilcoxon's signed-rank test then asks whether the
logarithms of these ratios lie above the logarithm of the factor that is to be reached.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from replay_table import Table
from result_file import Target, add_option, finish, give_way
from scipy.stats import wilcoxon
from search_efficiency import Replay, replay, summary
from thinking_time import thinking_s

from tuner.search.patience import NEGLIGIBLE_GAIN, PATIENCE, worth_going_on

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

TABLES = Path(__file__).parent / "tables"
GROUPS = {"chosen_on": TABLES, "held_out": TABLES / "held_out", "real": TABLES / "real"}
ALGORITHMS = ("ours", "random", "tpe", "quick")
FACTORS = {"random": 2.0, "tpe": 1.5}
MANY_OUT_OF_MEMORY = 0.35
"""Tables of which so many configurations do not load are those with many."""
LITTLE_LOST = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A table under a limit, or without one."""

    group: str
    path: Path
    p99_ms: float | None

    @property
    def limit(self) -> str:
        """How the result file calls it."""
        return "without_limit" if self.p99_ms is None else "with_limit"


Replays: TypeAlias = "dict[tuple[Case, str], list[Replay]]"


def cases() -> list[Case]:
    """Every table twice."""
    return [
        Case(group=group, path=path, p99_ms=p99_ms)
        for group, folder in GROUPS.items()
        for path in sorted(folder.glob("*.csv"))
        for p99_ms in (None, Table(path, None).binding_limit_ms())
    ]


def replays(wanted: Sequence[Case], seeds: int, trials: int, workers: int) -> Replays:
    """Run everything, and say how far it is."""
    done: Replays = {}
    with ProcessPoolExecutor(workers, initializer=give_way) as pool:
        running = {
            (case, name): [
                pool.submit(replay, case.path, case.p99_ms, name, seed, trials)
                for seed in range(seeds)
            ]
            for case in wanted
            for name in ALGORITHMS
        }
        for (case, name), runs in running.items():
            done[case, name] = [run.result() for run in runs]
            if name == ALGORITHMS[-1]:
                medians = {
                    other: float(np.median(until_nearly_best(done[case, other])))
                    for other in ALGORITHMS
                }
                said = ", ".join(f"{other} {median:g}" for other, median in medians.items())
                limit = "" if case.p99_ms is None else f", p99 <= {case.p99_ms:g} ms"
                print(f"{case.path.stem}{limit}: median trials {said}", flush=True)
    return done


def until_nearly_best(runs: Sequence[Replay]) -> NDArray[np.float64]:
    """Trials until within 5 % of the best, shape (seeds,)."""
    return np.array([min(run.trials, len(run.found) + 1) for run in runs])


def efficiency(done: Replays, where: str, limit: str) -> tuple[list[Target], dict[str, Any]]:
    """The targets of some tables under one kind of limit, and what is behind them."""
    of = {
        name: np.array([until_nearly_best(runs) for (_, who), runs in done.items() if who == name])
        for name in ALGORITHMS
    }
    ours = of["ours"]
    where = f"{where}, {limit}"
    median, p95 = float(np.median(ours)), float(np.percentile(ours, 95, method="higher"))
    targets = [
        Target(what=f"{where}: median trials to 95 %", value=median, high=10),
        Target(what=f"{where}: 95th percentile of them", value=p95, high=20),
    ]
    details: dict[str, Any] = {
        "median": {name: float(np.median(trials)) for name, trials in of.items()},
        "p95": {
            name: float(np.percentile(trials, 95, method="higher")) for name, trials in of.items()
        },
        "missed_share": {
            name: float(np.mean(trials > len(next(iter(done.values()))[0].found)))
            for name, trials in of.items()
        },
    }
    for name, factor in FACTORS.items():
        log_ratio = np.log(of[name] / ours).mean(axis=0)
        value = math.exp(float(np.median(log_ratio)))
        p = float(wilcoxon(log_ratio - math.log(factor), alternative="greater").pvalue)
        of_medians = float(np.median(of[name])) / median
        targets += [
            Target(what=f"{where}: times as many trials of {name}", value=value, low=factor),
            Target(what=f"{where}: p that it is not {factor:g}", value=p, high=0.01),
            Target(what=f"{where}: ratio of the medians", value=of_medians, low=factor),
        ]
        details[f"{name}_over_ours"] = {"median": value, "p": p, "of_medians": of_medians}
    return targets, details


def out_of_memory(done: Replays) -> list[Target]:
    """Launches that fail where many would."""
    runs = {
        case.path.stem: max(run.oom for run in runs)
        for (case, name), runs in done.items()
        if name == "ours" and Table(case.path, None).out_of_memory >= MANY_OUT_OF_MEMORY
    }
    return [
        Target(what=f"{table}: most launches that ran out of memory", value=most, high=2)
        for table, most in runs.items()
    ]


def stopping(done: Replays, where: str, limit: str) -> tuple[list[Target], dict[str, Any]]:
    """What is lost and saved when the search stops once nothing more is expected."""
    runs = [run for (_, name), runs in done.items() if name == "ours" for run in runs]
    stops = np.array([stopped_after(run) for run in runs])
    whole = np.array([run.found[-1] for run in runs])
    had = np.array([run.found[stop - 1] for run, stop in zip(runs, stops, strict=True)])
    lost = np.where(whole > 0, 1 - had / np.maximum(whole, 1e-9), 0.0)
    target = Target(
        what=f"{where}, {limit}: share of the runs that lose less than 2 % by stopping early",
        value=float(np.mean(lost < LITTLE_LOST)),
        low=0.95,
    )
    return [target], {
        "trials_until_the_stop": {
            "median": float(np.median(stops)),
            "p95": float(np.percentile(stops, 95)),
        },
        "lost": {
            "mean": float(lost.mean()),
            "p95": float(np.percentile(lost, 95)),
            "most": float(lost.max()),
        },
        "within_5_percent_of_the_best": float(np.mean(had >= 0.95)),
    }


def stopped_after(run: Replay) -> int:
    """Trials until nothing more is expected; all of them where that never happens."""
    for asked in range(1, len(run.gains) + 1):
        if not worth_going_on(run.gains[:asked]):
            return asked - 1
    return len(run.gains)


def per_table(done: Replays) -> dict[str, Any]:
    """What ``search_efficiency --json`` says of each table, and the trials of each seed."""
    found: dict[str, Any] = {}
    for (case, name), runs in done.items():
        table = found.setdefault(f"{case.group}/{case.path.stem}", {}).setdefault(case.limit, {})
        table["p99_limit_ms"] = case.p99_ms
        seeds = " ".join(f"{trials:g}" for trials in until_nearly_best(runs))
        table[name] = {**summary(runs), "trials_to_95_of_each_seed": seeds}
    return found


def judge(done: Replays) -> tuple[list[Target], Mapping[str, Any]]:
    """All targets, and all numbers behind them.

    What is promised is promised over all tables; the groups are told of beside it.
    """
    targets: list[Target] = []
    details: dict[str, Any] = {"thinking_s": {}}
    for trials, most in ((30, 0.5), (300, 2.0)):
        took = thinking_s(trials)
        details["thinking_s"][trials] = took
        targets.append(Target(what=f"seconds a proposal after {trials}", value=took, high=most))
    print("The groups of tables, for information:")
    for group in (*dict.fromkeys(case.group for case, _ in done), None):
        for limit in ("without_limit", "with_limit"):
            some = {
                (case, name): runs
                for (case, name), runs in done.items()
                if case.limit == limit and group in {case.group, None}
            }
            where = group or "all tables"
            reached, behind = efficiency(some, where, limit)
            stops, saved = stopping(some, where, limit)
            details[f"{where} {limit}"] = {**behind, "stopping_early": saved}
            if group is None:
                targets += reached + stops
                continue
            for target in reached + stops:
                print(f"  {target.describe()}")
    print("The targets:")
    return targets + out_of_memory(done), {**details, "tables": per_table(done)}


def main() -> int:
    """Replay everything, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", help="tables whose name holds this")
    add_option(parser)
    asked = parser.parse_args()
    wanted = [case for case in cases() if (asked.only or "") in str(case.path)]
    began = time.monotonic()
    targets, details = judge(replays(wanted, asked.seeds, asked.trials, asked.workers))
    settings = {
        "seeds": list(range(asked.seeds)),
        "trials": asked.trials,
        "negligible_gain": NEGLIGIBLE_GAIN,
        "patience": PATIENCE,
        "took_s": time.monotonic() - began,
    }
    return finish(asked.json, targets, settings=settings, details=details)


if __name__ == "__main__":
    sys.exit(main())
