"""Does an earlier study help when it is right, and not harm when it is misleading?

    python benchmarks/search_warm_start.py [--seeds 10] [--trials 30] [--workers 2] [--json FILE]

Each table is searched (see ``search_efficiency``) without an earlier study, after one of the same
table, after one of the same table on a machine that is 2.3 times as fast, and after one of
another table, the next one in the alphabet. Every earlier study is twelve trials of our own
search from another start.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from replay_table import exactly
from result_file import Target, add_option, finish, give_way
from search_efficiency import follow, load
from search_targets import GROUPS, until_nearly_best

from tuner.search.model_guided import ModelGuided

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from search_efficiency import Replay

    from tuner.search.port import Seen

EARLIER_TRIALS = 12
FASTER = 2.3
KINDS = ("none", "same", "faster", "other", "reversed")


def warm(path: Path, other: Path, kind: str, seed: int, trials: int) -> Replay:
    """One search of a table after an earlier study."""
    table = load(path, None)
    match kind:
        case "none":
            earlier = []
        case "other":
            earlier = study(other, seed)
        case "faster":
            earlier = [changed(seen, lambda rate: FASTER * rate) for seen in study(path, seed)]
        case "reversed":
            earlier = [changed(seen, lambda rate: 1e6 / rate) for seen in study(path, seed)]
        case _:
            earlier = study(path, seed)
    searcher = ModelGuided(
        table.space(seed), seed=seed, max_concurrency=max(table.loads), earlier=earlier
    )
    return follow(searcher, table, trials)


def study(path: Path, seed: int) -> list[Seen]:
    """What an earlier study saw."""
    table, other_seed = load(path, None), seed + 1_000
    searcher = ModelGuided(
        table.space(other_seed), seed=other_seed, max_concurrency=max(table.loads)
    )
    history: list[Seen] = []
    while len(history) < EARLIER_TRIALS and (proposal := searcher.propose(history)):
        start = proposal.saturation
        history.append(table.trial(proposal.params, start.concurrency if start else None))
    return history


def changed(seen: Seen, rate: Callable[[float], float]) -> Seen:
    """The same trial with other throughputs."""
    levels = tuple(
        replace(level, throughput_per_s=exactly(rate(level.throughput_per_s.value)))
        for level in seen.levels
    )
    return replace(seen, value=None if seen.value is None else rate(seen.value), levels=levels)


def main() -> int:
    """Replay everything, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    add_option(parser)
    asked = parser.parse_args()
    paths = sorted(path for folder in GROUPS.values() for path in folder.glob("*.csv"))
    with ProcessPoolExecutor(asked.workers, initializer=give_way) as pool:
        running = {
            (path.stem, kind): [
                pool.submit(warm, path, other, kind, seed, asked.trials)
                for seed in range(asked.seeds)
            ]
            for path, other in zip(paths, paths[1:] + paths[:1], strict=True)
            for kind in KINDS
        }
        trials = {
            key: until_nearly_best([run.result() for run in runs]) for key, runs in running.items()
        }
    details: dict[str, Any] = {}
    for path in paths:
        medians = {kind: float(np.median(trials[path.stem, kind])) for kind in KINDS}
        details[path.stem] = medians
        said = ", ".join(f"{kind} {median:g}" for kind, median in medians.items())
        print(f"{path.stem}: median trials to 95 % after {said}", flush=True)
    together = {
        kind: np.concatenate([trials[path.stem, kind] for path in paths]) for kind in KINDS
    }
    medians = {kind: float(np.median(counts)) for kind, counts in together.items()}
    targets = [
        Target(what="median trials after the same", value=medians["same"], high=medians["none"]),
        Target(what="and on another machine", value=medians["faster"], high=medians["none"]),
        *(
            Target(
                what=f"median trials that one costs which is misleading ({kind})",
                value=float(np.median(together[kind] - together["none"])),
                high=1,
            )
            for kind in ("other", "reversed")
        ),
    ]
    settings = {"seeds": list(range(asked.seeds)), "trials": asked.trials}
    details["all tables"] = {
        kind: {"median": float(np.median(counts)), "p95": float(np.percentile(counts, 95))}
        for kind, counts in together.items()
    }
    return finish(asked.json, targets, settings=settings, details=details)


if __name__ == "__main__":
    sys.exit(main())
