"""Make the tables that the search is replayed on: simulated families of models on Triton.

    python benchmarks/make_tables.py [NAME …]

writes ``benchmarks/tables/NAME.csv``, and those that are kept for the last check to
``benchmarks/tables/held_out/NAME.csv``. Each level is a small discrete-event run of a dynamic
batcher under a closed loop: requests queue, an instance that is free takes a full batch at once
and a part of one when its oldest request has waited for the queue delay. Compute times come from
the family's own formula with noise, on purpose in other shapes than those that the search assumes
(steps, cliffs, time sharing). Same seed, same table.
"""

from __future__ import annotations

import csv
import heapq
import random
import sys
import zlib
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from table_families import FAMILIES, HELD_OUT

if TYPE_CHECKING:
    from table_families import Family

TABLES = Path(__file__).parent / "tables"
COLUMNS = (
    "max_batch_size",
    "instance_count",
    "max_queue_delay_microseconds",
    "concurrency",
    "throughput_per_s",
    "p99_ms",
    "gpu_memory_mb",
    "status",
)


@dataclass(kw_only=True)
class Batcher:
    """One run of the dynamic batcher under a closed loop; times in ms."""

    family: Family
    batch: int
    instances: int
    delay_ms: float
    clients: int
    random: random.Random
    queue: deque[float] = field(default_factory=deque)
    busy: int = 0
    answered: list[tuple[float, float]] = field(default_factory=list)

    def run(self) -> tuple[float, float]:
        """Throughput per second and p99 in ms of the run's last three quarters."""
        wanted = max(200 * self.instances, 20 * self.clients, 10 * self.batch)
        # (time, tie, send times of the batch that ends then; empty for a look at the queue)
        events: list[tuple[float, int, list[float]]] = []
        arrivals = [(self.random.random(), index) for index in range(self.clients)]
        heapq.heapify(arrivals)
        tie = self.clients
        while len(self.answered) < wanted:
            if arrivals and (not events or arrivals[0][0] <= events[0][0]):
                now, _ = heapq.heappop(arrivals)
                self.queue.append(now)
                if self.delay_ms:
                    tie += 1
                    heapq.heappush(events, (now + self.delay_ms, tie, []))
            else:
                now, _, sent = heapq.heappop(events)
                self.busy -= bool(sent)
                for start in sent:
                    self.answered.append((now, now - start))
                    tie += 1
                    heapq.heappush(arrivals, (now + self.random.expovariate(10), tie))
            while (taken := self._take(now)) is not None:
                self.busy += 1
                tie += 1
                heapq.heappush(events, (now + self._compute_ms(len(taken)), tie, taken))
        return self._reading()

    def _take(self, now: float) -> list[float] | None:
        if self.busy == self.instances or not self.queue:
            return None
        due = now - self.queue[0] >= self.delay_ms - 1e-9
        if len(self.queue) < self.batch and not due:
            return None
        return [self.queue.popleft() for _ in range(min(self.batch, len(self.queue)))]

    def _compute_ms(self, rows: int) -> float:
        noise = max(0.5, self.random.gauss(1, self.family.jitter))
        return self.family.compute_ms(rows, self.busy) * noise

    def _reading(self) -> tuple[float, float]:
        kept = self.answered[len(self.answered) // 4 :]
        span = kept[-1][0] - self.answered[len(self.answered) // 4 - 1][0]
        latencies = sorted(latency for _, latency in kept)
        throughput = 1e3 * len(kept) / max(span, 1e-9)
        error = self.random.gauss(1, self.family.reading_error)
        return throughput * error, latencies[int(0.99 * (len(latencies) - 1))] / error


def rows(name: str, family: Family) -> list[tuple[object, ...]]:
    """The table's rows; a configuration that does not load is one row without numbers."""
    table: list[tuple[object, ...]] = []
    for batch in (1, 2, 4, 8, 16, 32, 64, 128):
        for copies in family.instances:
            memory_mb = family.memory_mb(batch, copies)
            for delay_us in family.delays_us:
                if memory_mb > family.memory_total_mb:
                    table.append((batch, copies, delay_us, "", "", "", "", "oom"))
                    continue
                clients = 1
                while clients <= family.largest_load:
                    seed = zlib.crc32(f"{name} {batch} {copies} {delay_us} {clients}".encode())
                    throughput, p99 = Batcher(
                        family=family,
                        batch=batch,
                        instances=copies,
                        delay_ms=delay_us / 1e3 if batch > 1 else 0.0,
                        clients=clients,
                        random=random.Random(seed),  # noqa: S311 - a simulation
                    ).run()
                    reading = (f"{throughput:.4g}", f"{p99:.4g}", f"{memory_mb:.0f}", "ok")
                    table.append((batch, copies, delay_us, clients, *reading))
                    clients *= 2
    return table


def main() -> None:
    """Write the named tables, or all."""
    TABLES.mkdir(exist_ok=True)
    families = FAMILIES | HELD_OUT
    for name in sys.argv[1:] or families:
        folder = TABLES / "held_out" if name in HELD_OUT else TABLES
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(name, families[name]))
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
