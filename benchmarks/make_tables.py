"""Make the tables that the search is replayed on: simulated families of models on Triton.

    python benchmarks/make_tables.py [NAME …]

writes ``benchmarks/tables/NAME.csv``. Each level is a small discrete-event run of a dynamic
batcher under a closed loop: requests queue, an instance that is free takes a full batch at once
and a part of one when its oldest request has waited for the queue delay. Compute times come from
the family's own formula with noise, on purpose in other shapes than those that the search assumes
(steps, cliffs, time sharing). Same seed, same table.
"""

from __future__ import annotations

import csv
import heapq
import math
import random
import sys
import zlib
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

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


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of model and machine.

    Attributes:
        compute_ms: time of a batch of so many rows while so many instances are busy.
        memory_mb: what a configuration (largest batch, instances) takes.
        memory_total_mb: what there is.
        instances: how many are tried.
        delays_us: queue delays that are tried.
        largest_load: highest concurrency.
        jitter: relative standard deviation of a batch's time.
        reading_error: relative standard deviation of a level's readings on top.
    """

    compute_ms: Callable[[int, int], float]
    memory_mb: Callable[[int, int], float]
    memory_total_mb: float = 80_000
    instances: tuple[int, ...] = (1, 2, 3, 4)
    delays_us: tuple[int, ...] = (0, 500, 5_000, 50_000)
    largest_load: int = 512
    jitter: float = 0.05
    reading_error: float = 0.005


FAMILIES: dict[str, Family] = {
    # 10 ms + 1 ms a row, three instances that do not touch each other.
    "light": Family(
        compute_ms=lambda rows, _: 10 + rows,
        memory_mb=lambda rows, copies: copies * (900 + rows),
        instances=(1, 2, 3),
    ),
    # Every row costs; the device is full with one instance, a second hides the host's part.
    "compute_bound": Family(
        compute_ms=lambda rows, busy: 4 + 1.5 * rows * busy**0.98,
        memory_mb=lambda rows, copies: copies * (3_000 + 20 * rows),
    ),
    # Weights are read once per batch, whatever its size; instances share the bandwidth.
    "memory_bound": Family(
        compute_ms=lambda rows, busy: (25 + 0.06 * rows) * (1 + 0.7 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (7_000 + 30 * rows),
        instances=(1, 2, 3, 4, 5, 6),
    ),
    # falcon7b on an H100: facts measured at batch 1 and 128 with one, two and four instances.
    "launch_bound": Family(
        compute_ms=lambda rows, busy: (110 + 0.23 * rows) * (1 + 0.54 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (15_100 + 4 * rows),
        instances=(1, 2, 3, 4, 5, 6),
        largest_load=1024,
    ),
    # Two instances hardly meet, four thrash; batches beyond 32 fall out of the cache.
    "contention": Family(
        compute_ms=lambda rows, busy: (
            (6 + 0.4 * rows + 1.6 * max(0, rows - 32)) * {1: 1.0, 2: 1.1, 3: 1.9, 4: 3.4}[busy]
        ),
        memory_mb=lambda rows, copies: copies * (2_000 + 10 * rows),
        jitter=0.08,
    ),
    # Few clients and a large fixed cost: what is gathered before the start decides.
    "delay_sensitive": Family(
        compute_ms=lambda rows, busy: (60 + 0.5 * rows) * (1 + 0.85 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (4_000 + 10 * rows),
        delays_us=(0, 200, 1_000, 5_000, 20_000, 100_000),
        largest_load=64,
    ),
    # Eight instances are allowed and two of five configurations do not load.
    "many_out_of_memory": Family(
        compute_ms=lambda rows, busy: (30 + 0.3 * rows) * (1 + 0.35 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (9_000 + 90 * rows),
        memory_total_mb=60_000,
        instances=(1, 2, 3, 4, 5, 6, 7, 8),
        delays_us=(0, 2_000, 20_000),
    ),
    # Nearly all of it is activations: batch and instances compete for the same memory.
    "activations": Family(
        compute_ms=lambda rows, busy: (12 + 0.9 * rows**0.9) * (1 + 0.25 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (1_500 + 420 * rows),
        memory_total_mb=32_000,
        instances=(1, 2, 3, 4, 5, 6),
        delays_us=(0, 2_000, 20_000),
    ),
    # Rows are padded to tiles of 16: time is a staircase.
    "tiles": Family(
        compute_ms=lambda rows, busy: (3 + 9 * math.ceil(rows / 16)) * (1 + 0.3 * (busy - 1)),
        memory_mb=lambda rows, copies: copies * (5_000 + 15 * rows),
    ),
    # A processor with two cores: instances share time, longer batches spill.
    "two_cores": Family(
        compute_ms=lambda rows, busy: (4 + 0.5 * rows**1.12) * max(1.0, busy / 2) ** 1.15,
        memory_mb=lambda rows, copies: copies * (400 + 2 * rows),
        jitter=0.12,
        reading_error=0.015,
    ),
}


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
    for name in sys.argv[1:] or FAMILIES:
        path = TABLES / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(name, FAMILIES[name]))
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
