"""A run cut into slices that begin and end where a batch ends.

Batch-mates finish together, so completions come in bursts, here called epochs. A window of fixed
length catches one burst more or one fewer by chance; slices that end with an epoch do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tuner.measure.trace import Trace

_SAME_EPOCH = 0.5
"""Completions closer than this share of the mean gap between completions are one epoch. Within a
batch the gaps are far below the mean, between batches above it."""
_INSTANTS = 1001


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Completions:
    """The answered requests in the order in which they were answered.

    Attributes:
        done_ns: int64, shape (answered,), ascending.
        latency_ms: float64, shape (answered,).
        ends: int64, shape (epochs,), ascending: epoch i holds the requests
            ``ends[i - 1]:ends[i]``, the first one ``0:ends[0]``.
    """

    done_ns: NDArray[np.int64]
    latency_ms: NDArray[np.float64]
    ends: NDArray[np.int64]

    @property
    def rounds(self) -> float:
        """Length of the run in mean latencies: how often each client came back."""
        if len(self.done_ns) == 0:
            return 0.0
        mean_ns = max(float(self.latency_ms.mean()) * 1e6, 1.0)
        return float(self.done_ns[-1] - self.done_ns[0]) / mean_ns


def completions(trace: Trace) -> Completions:
    """Sort the answered requests by completion and find the epochs."""
    answered = ~trace.failed
    done_ns, sent_ns = trace.done_ns[answered], trace.sent_ns[answered]
    order = np.argsort(done_ns, kind="stable")
    done_ns, sent_ns = done_ns[order], sent_ns[order]
    return Completions(
        done_ns=done_ns, latency_ms=(done_ns - sent_ns) / 1e6, ends=epoch_ends(done_ns)
    )


def epoch_ends(done_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each epoch ends (exclusive) in ascending completion times."""
    if len(done_ns) == 0:
        return np.zeros(0, dtype=np.int64)
    gaps = np.diff(done_ns)
    cuts = np.flatnonzero(gaps > _SAME_EPOCH * gaps.mean()) + 1 if len(gaps) else gaps
    return np.append(cuts, len(done_ns)).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slices:
    """Consecutive pieces of a run, of about as many requests each.

    The first epoch only marks the time at which the first slice begins.

    Attributes:
        edges: int64, shape (slices + 1,): slice i holds the completions
            ``edges[i]:edges[i + 1]``.
        counts: float64, shape (slices,): answered requests.
        durations_s: float64, shape (slices,): from the end of the last epoch before the slice to
            the end of its own last epoch.
        mean_latency_ms: float64, shape (slices,).
    """

    edges: NDArray[np.int64]
    counts: NDArray[np.float64]
    durations_s: NDArray[np.float64]
    mean_latency_ms: NDArray[np.float64]


def cut(done: Completions, wanted: int) -> Slices:
    """Cut a run into about ``wanted`` slices; fewer where there are fewer epochs.

    Args:
        done: at least two epochs.
        wanted: at least 1.
    """
    start, later = int(done.ends[0]), done.ends[1:]
    targets = start + (len(done.done_ns) - start) * np.arange(1, wanted + 1) / wanted
    last = np.unique(np.searchsorted(later, targets - 1e-9).clip(max=len(later) - 1))
    if len(last) < min(wanted, 2):  # one epoch holds most requests: a spread still needs two
        last = np.arange(len(later))
    edges = np.append(start, later[last])
    sums = np.append(0.0, np.cumsum(done.latency_ms))
    counts = np.diff(edges).astype(np.float64)
    return Slices(
        edges=edges,
        counts=counts,
        durations_s=np.diff(done.done_ns[edges - 1]) / 1e9,
        mean_latency_ms=np.diff(sums[edges]) / counts,
    )


def complete_between_s(done: Completions) -> tuple[float, float]:
    """Return the times between which every request that was on its way is among the answered.

    A run lacks what was answered after its end: as many requests as are usually in flight.

    Args:
        done: at least one request.

    Returns:
        In s from the first completion; the second time may lie before the first.
    """
    sent_s, done_s = _times_s(done)
    ordered = np.sort(sent_s)
    quarter = (float(ordered[-1]) - float(ordered[0])) / 4
    instants = np.linspace(ordered[0] + quarter, ordered[-1] - quarter, _INSTANTS)
    in_flight = np.searchsorted(ordered, instants, "right") - np.searchsorted(
        done_s, instants, "right"
    )
    usual = max(1, int(np.median(in_flight)))
    return 0.0, float(sent_s[-usual:].min())


def passed(done: Completions, until_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count the requests that have passed by each of the given times, with their fractions.

    A request that is on its way counts by the share of its latency that is over.

    Args:
        done: the answered requests.
        until_s: float64, shape (times,), in s from the first completion.

    Returns:
        float64, shape (times,).
    """
    sent_s, done_s = _times_s(done)
    latency_s = np.maximum(done_s - sent_s, 1e-9)
    shares = [np.clip((until - sent_s) / latency_s, 0, 1).sum() for until in until_s]
    return np.array(shares, dtype=np.float64)


def _times_s(done: Completions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each request left and was answered, in s from the first completion."""
    done_s = (done.done_ns - done.done_ns[0]) / 1e9
    return done_s - done.latency_ms / 1e3, done_s
