"""Triton's scheduling of one model: its queue, its payloads and who takes them.

This follows what Triton 2.51 was seen to do, with the names that its documentation uses:

* The batcher does not look for idle instances. Without a delay it sends off whatever has come,
  so that the first request after a pause travels alone; with a delay it lets the oldest
  request wait that long even if every instance idles, unless a preferred size is reached
  before. The only preferred size is ``max_batch_size`` where none is configured.
* A batch that was sent off waits for an instance in a queue of two slots per instance, and
  goes on growing there until an instance takes it. While all slots are taken, nothing moves.
* An instance that takes a batch takes the next ones too where they fit, if a delay is
  configured and they waited longer than that.
* Without dynamic batching every request is a batch of its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

SLOTS_PER_INSTANCE = 2
MICROSECOND_MS = 1e-3
"""Triton rounds a wait down to whole microseconds; less is no wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimConfig:
    """What the simulator needs of a config.pbtxt.

    Attributes:
        max_batch_size: rows; 0: the model takes no batches.
        dynamic_batching: requests of different clients are joined.
        max_queue_delay_microseconds: how long the oldest request waits for others.
        preferred_batch_sizes: in rows; empty: ``max_batch_size`` alone.
        instances: over all instance groups.
    """

    max_batch_size: int
    dynamic_batching: bool
    max_queue_delay_microseconds: int = 0
    preferred_batch_sizes: tuple[int, ...] = ()
    instances: int = 1


class Batcher(Protocol):
    """From a request's arrival to an instance that takes it. Times are in ms."""

    wake_at_ms: float

    def enqueue(self, now_ms: float, request: int) -> None:
        """A request arrives."""
        ...

    def wake(self, now_ms: float) -> None:
        """The time ``wake_at_ms`` has come."""
        ...

    def take(self, now_ms: float) -> list[int]:
        """An idle instance takes the next batch; empty when there is none."""
        ...


class OneByOne:
    """Dynamic batching off: first come, first served, alone."""

    def __init__(self) -> None:
        self.wake_at_ms = inf
        self._queue: deque[int] = deque()

    def enqueue(self, now_ms: float, request: int) -> None:  # noqa: ARG002 - the Protocol's
        """A request arrives."""
        self._queue.append(request)

    def wake(self, now_ms: float) -> None:
        """Never called: nothing here waits for a time."""

    def take(self, now_ms: float) -> list[int]:  # noqa: ARG002 - the Protocol's
        """The oldest request; empty when there is none."""
        return [self._queue.popleft()] if self._queue else []


@dataclass(slots=True, eq=False)
class _Payload:
    """A batch on its way. ``taken``: an instance has it, so that it grows no more."""

    requests: list[int] = field(default_factory=list)
    since_ms: float = 0.0
    scheduled: bool = False
    taken: bool = False


class DynamicBatcher:
    """Dynamic batching on.

    Args:
        config: of the model.
        request_rows: rows in every request.
        timer_late_ms: how late the batcher wakes after a delay.
    """

    def __init__(self, config: SimConfig, *, request_rows: int, timer_late_ms: float) -> None:
        self.wake_at_ms = inf
        self._rows = request_rows
        self._max_rows = max(1, config.max_batch_size)
        self._preferred = sorted(set(config.preferred_batch_sizes or (self._max_rows,)))
        self._delay_ms = config.max_queue_delay_microseconds / 1e3
        self._late_ms = timer_late_ms
        self._slots = SLOTS_PER_INSTANCE * config.instances
        self._queue: deque[tuple[float, int]] = deque()
        self._scheduled: deque[_Payload] = deque()
        self._current = _Payload()
        self._saturated = False
        self._next_preferred = 0

    def enqueue(self, now_ms: float, request: int) -> None:
        """A request arrives; it wakes the batcher only where that may change something."""
        self._queue.append((now_ms, request))
        if len(self._scheduled) < self._slots and (
            self._saturated
            or self._current.taken
            or len(self._queue) * self._rows >= self._next_preferred
        ):
            self.wake(now_ms)

    def wake(self, now_ms: float) -> None:
        """Move requests from the queue to payloads until there is something to wait for."""
        self.wake_at_ms = inf
        while True:
            if self._saturated or self._current.taken:
                self._current = _Payload()
                self._saturated = False
                self._next_preferred = 0
            if not self._queue or len(self._scheduled) >= self._slots:
                return
            count, wait_ms = self._form(now_ms)
            if wait_ms >= MICROSECOND_MS:
                self.wake_at_ms = now_ms + wait_ms + self._late_ms
                return
            self._send(count)

    def take(self, now_ms: float) -> list[int]:
        """The oldest payload, with those behind it that may be merged; empty when none."""
        if not self._scheduled:
            return []
        payload = self._scheduled.popleft()
        payload.taken = True
        requests = payload.requests
        while self._scheduled and self._delay_ms > 0:
            behind = self._scheduled[0]
            rows = (len(requests) + len(behind.requests)) * self._rows
            if now_ms - behind.since_ms <= self._delay_ms or rows > self._max_rows:
                break
            self._scheduled.popleft()
            behind.taken = True
            requests = requests + behind.requests
        self.wake(now_ms)
        return requests

    def _send(self, count: int) -> None:
        current = self._current
        if count and not current.requests:
            current.since_ms = self._queue[0][0]
        for _ in range(count):
            current.requests.append(self._queue.popleft()[1])
        if current.requests and not current.scheduled:
            current.scheduled = True
            self._scheduled.append(current)

    def _form(self, now_ms: float) -> tuple[int, float]:
        """How many of the queue join the current payload, and else how many ms to wait."""
        own = len(self._current.requests) * self._rows
        count, best, full = self._examine(own)
        age_ms = now_ms - self._queue[0][0]
        expired = 0 < self._delay_ms <= age_ms
        if best and not expired:
            self._saturated |= self._delay_ms == 0
            return best, 0.0
        if count == 0:
            return 0, 0.0
        rows = own + count * self._rows
        if full or rows >= self._preferred[-1]:
            self._saturated = True
            return count, 0.0
        if expired or self._delay_ms == 0:
            return count, 0.0
        larger = (size for size in self._preferred if size > rows)
        self._next_preferred = next(larger, self._preferred[0]) - own
        if own and not self._saturated and own not in self._preferred:
            return count, 0.0
        return count, self._delay_ms - age_ms

    def _examine(self, own: int) -> tuple[int, int, bool]:
        """Requests that fit, how many of them make the best size, and whether that is full."""
        count = best = 0
        rows = own
        for _ in self._queue:
            after = rows + self._rows
            if rows and after > self._preferred[-1] and not best:
                best = count
                self._saturated = True
            if rows and after > self._max_rows:
                return count, best, True
            count += 1
            rows = after
            if rows in self._preferred:
                best = count
        return count, best, False
