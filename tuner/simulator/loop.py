"""One run of load, event by event, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate, count
from math import ceil, inf, sqrt
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.measure.trace import Trace
from tuner.simulator.batcher import Batcher, DynamicBatcher, OneByOne, SimConfig
from tuner.simulator.device import way_times_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.simulator.cost import CostModel
    from tuner.simulator.device import Device

FIRST_CHANNEL_CLIENTS = 6
"""So many requests share a client's first gRPC channel; a stall hits the ones beyond."""

ARRIVES, IS_IDLE = 0, 1

COUNT_WINDOWS, LOOK_MS = 3, 1000.0
"""A run that counts answers: its windows, and how often each looks whether it is over."""


def simulate(
    config: SimConfig,
    cost: CostModel,
    device: Device,
    workload: Workload,
    *,
    duration_s: float,
    requests: int | None = None,
    random: np.random.Generator,
) -> Trace:
    """Send requests for a while; the trace has those that were answered in it, if any.

    What is still on its way then is followed to its end, so that the next run finds the server
    at rest.

    Args:
        config: of the model.
        cost: of the model.
        device: of the server; the run begins at its present time and moves it on.
        workload: how the requests arrive.
        duration_s: how long to send.
        requests: clients in a closed loop send until so many were answered, instead.
        random: of this run.
    """
    start_ms = device.now_ms
    end = _ByClock(start_ms + duration_s * 1e3)
    match workload.load:
        case ClosedLoop() as closed:
            if requests is not None:
                end = _ByCount(start_ms, requests)
            client: _Client = _ClosedClient(closed, cost, start_ms, end)
        case OpenLoop() as opened:
            client = _OpenClient(opened, cost, start_ms, end.at_ms, random)
    return _Run(config, cost, device, workload, client, random).trace(end)


class _ByClock:
    """The end of a run, known from its start."""

    def __init__(self, at_ms: float) -> None:
        self.at_ms = at_ms

    def answered(self, at_ms: float) -> None:
        """An answer came, which changes nothing."""


class _ByCount(_ByClock):
    """The end of a run that counts answers, as perf_analyzer's windows do.

    Each window looks once a second whether it has its share.
    """

    def __init__(self, start_ms: float, requests: int) -> None:
        super().__init__(inf)
        self._each = ceil(requests / COUNT_WINDOWS)
        self._left = COUNT_WINDOWS
        self._start_ms = start_ms
        self._end_ms = inf
        self._seen = 0

    def answered(self, at_ms: float) -> None:
        if at_ms > self._end_ms:
            self._left -= 1
            self._start_ms, self._end_ms, self._seen = self._end_ms, inf, 0
        self._seen += 1
        if self._seen >= self._each and self._end_ms == inf:
            looks = ceil((at_ms - self._start_ms) / LOOK_MS)
            self._end_ms = self._start_ms + max(1, looks) * LOOK_MS
            if self._left == 1:
                self.at_ms = self._end_ms


class _Client(Protocol):
    """A source of requests; one processor sends them, one after the other."""

    busy_ms: float

    def first(self) -> Iterator[tuple[float, float]]:
        """The requests that wait for no answer: when each is due and when it leaves, in ms."""
        ...

    def answered(self, at_ms: float) -> float | None:
        """When the request leaves that follows an answer; None when none does."""
        ...


class _ClosedClient:
    """Each of the clients sends its next request when its last one was answered."""

    def __init__(self, load: ClosedLoop, cost: CostModel, start_ms: float, end: _ByClock) -> None:
        self.busy_ms = 0.0
        self._clients = load.concurrency
        self._cost_ms = cost.client_ms
        self._stall_ms = cost.faults.client_stall_s * 1e3
        self._free_ms = start_ms
        self._end = end

    def first(self) -> Iterator[tuple[float, float]]:
        start_ms = self._free_ms
        at_once = FIRST_CHANNEL_CLIENTS if self._stall_ms else self._clients
        self._free_ms += min(self._clients, at_once) * self._cost_ms
        self.busy_ms = self._clients * self._cost_ms
        for index in range(self._clients):
            stall_ms = self._stall_ms if index >= at_once else 0.0
            leaves_ms = start_ms + stall_ms + index * self._cost_ms
            yield leaves_ms, leaves_ms

    def answered(self, at_ms: float) -> float | None:
        self._end.answered(at_ms)
        if at_ms >= self._end.at_ms:
            return None
        self._free_ms = max(self._free_ms, at_ms) + self._cost_ms
        self.busy_ms += self._cost_ms
        return self._free_ms


class _OpenClient:
    """Requests are due by the clock; they leave as soon as the processor comes to them."""

    def __init__(
        self,
        load: OpenLoop,
        cost: CostModel,
        start_ms: float,
        end_ms: float,
        random: np.random.Generator,
    ) -> None:
        self._cost_ms = cost.client_ms
        gap_ms = 1e3 / load.rate_per_s
        # More than will be due: the number of a Poisson process varies by its square root.
        mean = (end_ms - start_ms) / gap_ms
        gaps = np.ones(int(mean + 10 * sqrt(mean + 1)) + 1)
        if load.poisson:
            gaps = random.standard_exponential(len(gaps))
        due_ms = start_ms + np.cumsum(gaps) * gap_ms
        due_ms = due_ms[due_ms < end_ms]
        self._due_ms: list[float] = due_ms.tolist()
        due_ms[FIRST_CHANNEL_CLIENTS:] = due_ms[FIRST_CHANNEL_CLIENTS:].clip(
            min=start_ms + cost.faults.client_stall_s * 1e3
        )
        self._possible_ms: list[float] = due_ms.tolist()
        self.busy_ms = len(due_ms) * cost.client_ms

    def first(self) -> Iterator[tuple[float, float]]:
        leaves_ms = accumulate(
            self._possible_ms, lambda last, possible: max(last + self._cost_ms, possible)
        )
        return zip(self._due_ms, leaves_ms, strict=True)

    def answered(self, at_ms: float) -> float | None:  # noqa: ARG002 - the Protocol's
        return None


@dataclass(slots=True, eq=False)
class _Times:
    """In ms, one entry a request."""

    sent: list[float]
    arrived: list[float]
    done: list[float]


class _Run:
    def __init__(
        self,
        config: SimConfig,
        cost: CostModel,
        device: Device,
        workload: Workload,
        client: _Client,
        random: np.random.Generator,
    ) -> None:
        self._client = client
        self._cost = cost
        self._device = device
        self._rows = workload.request_batch
        self._random = random
        self._start_ms = device.now_ms
        self._idle = config.instances
        self._network = way_times_ms(random, cost.network_ms)
        self._batcher: Batcher = OneByOne()
        if config.dynamic_batching and config.max_batch_size:
            self._batcher = DynamicBatcher(
                config, request_rows=self._rows, timer_late_ms=cost.timer_late_ms
            )
        self._times = _Times([], [], [])
        self._order = count()
        self._events: list[tuple[float, int, int, int]] = []

    def trace(self, end: _ByClock) -> Trace:
        for due_ms, leaves_ms in self._client.first():
            self._send(due_ms, leaves_ms)
        self._follow()
        self._device.usage.requests += len(self._times.sent)
        return self._as_trace(end.at_ms)

    def _send(self, due_ms: float, leaves_ms: float) -> None:
        times = self._times
        request = len(times.sent)
        arrives_ms = leaves_ms + next(self._network)
        times.sent.append(due_ms)
        times.done.append(inf)
        times.arrived.append(arrives_ms)
        heappush(self._events, (arrives_ms, next(self._order), ARRIVES, request))

    def _follow(self) -> None:
        events, device, batcher = self._events, self._device, self._batcher
        while True:
            event_ms = events[0][0] if events else inf
            if device.next_end_ms <= min(event_ms, batcher.wake_at_ms):
                if device.next_end_ms == inf:
                    return
                now_ms = device.next_end_ms
                self._end()
            elif batcher.wake_at_ms < event_ms:
                now_ms = batcher.wake_at_ms
                batcher.wake(now_ms)
            else:
                now_ms, _, kind, request = heappop(events)
                if kind == ARRIVES:
                    batcher.enqueue(now_ms, request)
                else:
                    self._idle += 1
            while self._idle and (taken := batcher.take(now_ms)):
                self._begin(now_ms, taken)

    def _begin(self, now_ms: float, taken: list[int]) -> None:
        self._idle -= 1
        self._device.start(now_ms, taken, len(taken) * self._rows)
        arrived = self._times.arrived
        self._device.usage.queue_ms += sum(now_ms - arrived[request] for request in taken)

    def _end(self) -> None:
        ended, compute_ms = self._device.end()
        usage, at_ms = self._device.usage, self._device.now_ms
        entry = usage.batches.setdefault(len(ended) * self._rows, [0, 0.0])
        entry[0] += 1
        entry[1] += compute_ms
        usage.compute_ms += compute_ms * len(ended)
        at_ms += self._cost.batch_overhead_ms
        for request in ended:
            at_ms += self._cost.request_overhead_ms
            done_ms = at_ms + next(self._network)
            self._times.done[request] = done_ms
            sent_ms = self._client.answered(done_ms)
            if sent_ms is not None:
                self._send(sent_ms, sent_ms)
        heappush(self._events, (at_ms, next(self._order), IS_IDLE, -1))

    def _as_trace(self, end_ms: float) -> Trace:
        sent_ms, done_ms = np.asarray(self._times.sent), np.asarray(self._times.done)
        order = np.argsort(sent_ms, kind="stable")
        order = order[done_ms[order] <= end_ms]
        failed = self._random.random(len(order)) < self._cost.faults.failing_share
        return Trace(
            sent_ns=(sent_ms[order] * 1e6).astype(np.int64),
            done_ns=(done_ms[order] * 1e6).astype(np.int64),
            failed=failed,
            client_cpu_pct=100 * self._client.busy_ms / (self._device.now_ms - self._start_ms)
            if len(order)
            else None,
        )
