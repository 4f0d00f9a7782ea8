from __future__ import annotations

from dataclasses import replace

import pytest

from tuner.errors import UsageError
from tuner.measure.estimate import Estimate
from tuner.measure.measurement import (
    ClosedLoop,
    GpuUse,
    HostUse,
    Latency,
    Measurement,
    ServerTime,
    Workload,
)
from tuner.measure.metrics import METRICS, metric


def exactly(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value, n_effective=10.0)


def gpu(uuid: str, *, pct: float, memory_bytes: int, power_w: float | None) -> GpuUse:
    return GpuUse(
        uuid=uuid,
        utilization_pct=pct,
        memory_peak_bytes=memory_bytes,
        memory_total_bytes=None,
        power_w=power_w,
    )


MEASUREMENT = Measurement(
    workload=Workload(load=ClosedLoop(concurrency=4)),
    throughput_per_s=exactly(100),
    latency=Latency(
        mean_ms=exactly(40), p50_ms=exactly(39), p90_ms=exactly(45), p95_ms=None, p99_ms=None
    ),
    server=ServerTime(
        queue_ms=1.0, compute_input_ms=2.0, compute_infer_ms=30.0, compute_output_ms=3.0
    ),
    batches=(),
    gpus=(
        gpu("a", pct=20.0, memory_bytes=15_100_000_000, power_w=200.0),
        gpu("b", pct=40.0, memory_bytes=15_100_000_000, power_w=None),
    ),
    host=HostUse(cpu_pct=150.0, memory_peak_bytes=2_000_000_000),
    requests=1000,
    errors=2,
    duration_s=10.0,
    discarded_s=0.5,
    caveats=(),
)


def test_every_metric_reads_the_measurement() -> None:
    assert {key: row.value(MEASUREMENT) for key, row in METRICS.items()} == {
        "throughput_per_s": 100,
        "latency_mean_ms": 40,
        "latency_p50_ms": 39,
        "latency_p90_ms": 45,
        "latency_p95_ms": None,
        "latency_p99_ms": None,
        "queue_ms": 1,
        "compute_input_ms": 2,
        "compute_infer_ms": 30,
        "compute_output_ms": 3,
        "gpu_utilization_pct": 30,
        "gpu_memory_peak_mb": 30_200,
        "gpu_power_w": 200,
        "cpu_pct": 150,
        "host_memory_peak_mb": 2000,
        "errors": 2,
    }


def test_what_was_not_measured_reads_none_and_never_0() -> None:
    bare = replace(MEASUREMENT, server=None, gpus=(), host=None)
    absent = {key for key, row in METRICS.items() if row.value(bare) is None}
    assert absent == {
        "latency_p95_ms",
        "latency_p99_ms",
        "queue_ms",
        "compute_input_ms",
        "compute_infer_ms",
        "compute_output_ms",
        "gpu_utilization_pct",
        "gpu_memory_peak_mb",
        "gpu_power_w",
        "cpu_pct",
        "host_memory_peak_mb",
    }


def test_headers_are_those_of_the_tutorial() -> None:
    assert {
        "p99 Latency (ms)",
        "Throughput (infer/sec)",
        "Max GPU Memory Usage (MB)",
        "Average GPU Utilization (%)",
        "Client Response Wait (ms)",
        "Server Queue (ms)",
        "Server Compute Input (ms)",
        "Server Compute Infer (ms)",
    } <= {row.header for row in METRICS.values()}


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("throughput", "throughput_per_s"),
        ("p99", "latency_p99_ms"),
        ("latency", "latency_p99_ms"),
        ("Latency-P50", "latency_p50_ms"),
        ("gpu_memory_peak", "gpu_memory_peak_mb"),
        ("errors", "errors"),
    ],
)
def test_a_metric_is_found_as_a_user_types_it(typed: str, key: str) -> None:
    assert metric(typed).key == key


def test_no_two_metrics_share_a_name() -> None:
    typed = [alias for row in METRICS.values() for alias in (row.key, *row.aliases)]
    assert len(typed) == len(set(typed))


def test_an_unknown_metric_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no metric 'trouhgput'\. Did you mean throughput_per_s"):
        metric("trouhgput")


def test_a_metric_like_no_other_is_answered_with_all() -> None:
    with pytest.raises(UsageError, match=r"no metric 'zzz'\. The metrics are throughput_per_s,"):
        metric("zzz")
