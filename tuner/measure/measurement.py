"""What one load level of one configuration came to."""

from __future__ import annotations

from dataclasses import dataclass

from tuner.measure.estimate import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """So many clients, each sending its next request when the last was answered."""

    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Requests that come by the clock, whether or not the earlier ones were answered."""

    rate_per_s: float
    poisson: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The traffic of one level.

    Attributes:
        load: how requests arrive.
        request_batch: rows in each request.
    """

    load: ClosedLoop | OpenLoop
    request_batch: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Client-side latency of the answered requests, in ms.

    A percentile is None where the run was too short to bound it. Then ``rough`` is that of the
    answered requests as they came: the true one may well lie higher. It is None where the
    percentile is bounded, and in the records of earlier versions.
    """

    mean_ms: Estimate
    p50_ms: Estimate | None
    p90_ms: Estimate | None
    p95_ms: Estimate | None
    p99_ms: Estimate | None
    p50_rough_ms: float | None = None
    p90_rough_ms: float | None = None
    p95_rough_ms: float | None = None
    p99_rough_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTime:
    """Where a request's time went inside Triton: means over the level, in ms."""

    queue_ms: float
    compute_input_ms: float
    compute_infer_ms: float
    compute_output_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTime:
    """One batch size that Triton executed: how often, and its mean compute time in ms."""

    size: int
    count: int
    compute_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """One GPU while the load ran. Utilisation and power are means, memory is the peak."""

    uuid: str
    utilization_pct: float | None
    memory_peak_bytes: int | None
    memory_total_bytes: int | None
    power_w: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUse:
    """The server's processes on the host while the load ran.

    Attributes:
        cpu_pct: mean processor use; 100 is one whole core.
        memory_peak_bytes: peak of the resident memory that they alone hold.
    """

    cpu_pct: float
    memory_peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Caveat:
    """A reason to doubt a number.

    Attributes:
        code: a fixed word, such as ``unstable``.
        message: what was seen, one sentence with its numbers.
        advice: what to do about it, one sentence.
    """

    code: str
    message: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One level, measured.

    Attributes:
        workload: the traffic.
        throughput_per_s: answered inferences per second (rows, not requests).
        latency: client-side latency.
        server: Triton's own split of the time; None where it could not be read.
        batches: executed batch sizes, ascending; empty where they could not be read.
        gpus: one entry a GPU; empty where there is none.
        host: None where the server's processes cannot be seen.
        requests: answered requests in the measured part of the run.
        errors: requests that failed in that part.
        duration_s: length of that part.
        discarded_s: warm-up before it, measured and thrown away.
        caveats: what to doubt.
    """

    workload: Workload
    throughput_per_s: Estimate
    latency: Latency
    server: ServerTime | None
    batches: tuple[BatchTime, ...]
    gpus: tuple[GpuUse, ...]
    host: HostUse | None
    requests: int
    errors: int
    duration_s: float
    discarded_s: float
    caveats: tuple[Caveat, ...]
