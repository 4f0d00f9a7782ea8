from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tuner.errors import ConfigurationRejected, TrialAborted, UsageError
from tuner.measure.measurement import ClosedLoop, OpenLoop, Workload
from tuner.simulator.adapters import Simulation, simulated
from tuner.simulator.batcher import DynamicBatcher, SimConfig
from tuner.simulator.cost import FILE_NAME, CostModel, Faults
from tuner.simulator.telemetry import GPU_UUID

if TYPE_CHECKING:
    from tuner.measure.trace import Trace
    from tuner.telemetry.port import Reading

GIB = 2**30
REPOSITORY = Path(__file__).parents[2] / "model_repository"
QUIET = CostModel(
    base_ms=10.0,
    per_row_ms=1.0,
    cv=0.0,
    cv_start=0.0,
    batch_overhead_ms=0.0,
    request_overhead_ms=0.0,
    network_ms=0.001,
    client_ms=0.001,
    timer_late_ms=0.0,
)
"""10 ms + 1 ms a row, without noise, and with next to no overhead."""


def config(
    *, size: int = 8, dynamic: bool = True, delay_us: int = 0, instances: int = 1
) -> SimConfig:
    return SimConfig(
        max_batch_size=size,
        dynamic_batching=dynamic,
        max_queue_delay_microseconds=delay_us,
        instances=instances,
    )


def closed(concurrency: int, *, request_batch: int = 1) -> Workload:
    return Workload(load=ClosedLoop(concurrency=concurrency), request_batch=request_batch)


def world(model: CostModel, configuration: SimConfig, seed: int = 0) -> Simulation:
    return simulated(model, seed, read_config=lambda _: configuration)


def measure(
    simulation: Simulation, folder: Path, workload: Workload, seconds: float = 10, runs: int = 1
) -> tuple[list[Trace], Reading]:
    """Start the server, run the load on it so many times, and read the telemetry at the end."""
    with (
        simulation.server.serving(
            repository=folder, model="m", log=folder / "server.log", deadline_s=60
        ) as endpoint,
        simulation.telemetry.sampling(http=endpoint.http, model="m", pid=None) as read,
    ):
        traces = [
            simulation.load.run(
                grpc=endpoint.grpc, model="m", workload=workload, duration_s=seconds, folder=folder
            )
            for _ in range(runs)
        ]
        return traces, read()


def one(
    folder: Path,
    model: CostModel,
    configuration: SimConfig,
    workload: Workload,
    seconds: float = 10,
) -> tuple[Trace, Reading]:
    (trace,), reading = measure(world(model, configuration), folder, workload, seconds)
    return trace, reading


def rate(trace: Trace) -> float:
    """Answers a second, without the first and last fifth of the run."""
    done = np.sort(trace.done_ns)[len(trace.done_ns) // 5 : -len(trace.done_ns) // 5]
    return float((len(done) - 1) / (done[-1] - done[0]) * 1e9)


def sizes(reading: Reading) -> dict[int, int]:
    return {batch.size: batch.count for batch in reading.batches}


def test_the_same_seed_gives_the_same_study_and_another_seed_another(tmp_path: Path) -> None:
    noisy = replace(QUIET, cv=0.05, cv_start=0.02, network_ms=0.1)
    first, again, other = (
        measure(world(noisy, config(), seed), tmp_path, closed(4), runs=2)[0] for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a.done_ns, b.done_ns) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].done_ns, other[0].done_ns)


def test_replicates_of_a_configuration_differ(tmp_path: Path) -> None:
    simulation = world(replace(QUIET, cv=0.05, cv_start=0.02), config())
    starts = [measure(simulation, tmp_path, closed(4), runs=2)[0] for _ in range(2)]
    p50s = {float(np.median(trace.latency_ms)) for traces in starts for trace in traces}
    assert len(p50s) == 4


def test_poisson_arrivals_of_two_runs_on_one_server_differ(tmp_path: Path) -> None:
    workload = Workload(load=OpenLoop(rate_per_s=50.0))
    (first, second), _ = measure(world(QUIET, config()), tmp_path, workload, runs=2)
    gaps = [np.diff(trace.sent_ns[:100]) for trace in (first, second)]
    assert not np.allclose(gaps[0], gaps[1])


def test_starts_of_one_configuration_vary_as_much_as_the_cost_model_says(tmp_path: Path) -> None:
    simulation = world(replace(QUIET, cv_start=0.05), config(dynamic=False))
    p50s = [
        np.median(measure(simulation, tmp_path, closed(1), 0.2)[0][0].latency_ms)
        for _ in range(200)
    ]
    assert np.std(p50s) / np.mean(p50s) == pytest.approx(0.05, rel=0.2)


def test_without_dynamic_batching_every_request_runs_alone(tmp_path: Path) -> None:
    trace, reading = one(tmp_path, QUIET, config(dynamic=False), closed(16))
    assert set(sizes(reading)) == {1}
    assert rate(trace) == pytest.approx(1000 / 11, rel=0.01)
    assert np.median(trace.latency_ms) == pytest.approx(16 * 11, rel=0.01)


def test_a_saturated_batcher_executes_full_batches(tmp_path: Path) -> None:
    trace, reading = one(tmp_path, QUIET, config(), closed(32))
    assert sizes(reading)[8] > 0.98 * sum(sizes(reading).values())
    assert rate(trace) == pytest.approx(8 / 0.018, rel=0.02)


def test_throughput_times_mean_latency_is_the_concurrency(tmp_path: Path) -> None:
    model = replace(QUIET, cv=0.05, network_ms=0.1)
    trace, _ = one(tmp_path, model, config(delay_us=2000, instances=2), closed(24))
    assert rate(trace) * trace.latency_ms.mean() / 1e3 == pytest.approx(24, rel=0.02)


def test_without_a_delay_an_idle_instance_takes_the_first_request_alone(tmp_path: Path) -> None:
    _, reading = one(tmp_path, QUIET, config(), closed(4))
    assert set(sizes(reading)) == {1, 3}
    assert sizes(reading)[1] == pytest.approx(sizes(reading)[3], abs=2)


def test_with_a_delay_even_an_idle_instance_waits_for_it(tmp_path: Path) -> None:
    trace, reading = one(tmp_path, QUIET, config(delay_us=5000), closed(4))
    assert set(sizes(reading)) == {4}
    assert np.median(trace.latency_ms) == pytest.approx(5 + 14, rel=0.01)


def test_a_full_batch_does_not_wait_for_the_delay(tmp_path: Path) -> None:
    trace, _ = one(tmp_path, QUIET, config(delay_us=50_000), closed(8))
    assert np.median(trace.latency_ms) == pytest.approx(18, rel=0.01)


def test_rows_of_a_request_count_towards_the_batch(tmp_path: Path) -> None:
    _, reading = one(tmp_path, QUIET, config(), closed(16, request_batch=3))
    assert max(sizes(reading)) == 6
    assert set(sizes(reading)) <= {3, 6}


def test_a_batch_grows_while_it_waits_for_an_instance() -> None:
    batcher = DynamicBatcher(config(), request_rows=1, timer_late_ms=0)
    for request in range(3):
        batcher.enqueue(float(request), request)
    assert batcher.take(5) == [0, 1, 2]


def test_only_two_batches_per_instance_wait_and_the_last_grows_on_when_one_leaves() -> None:
    batcher = DynamicBatcher(config(size=4), request_rows=1, timer_late_ms=0)
    for request in range(11):
        batcher.enqueue(float(request), request)
    assert [batcher.take(20) for _ in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10], []]


def test_a_preferred_size_is_sent_before_the_delay_ends() -> None:
    preferring = SimConfig(
        max_batch_size=8,
        dynamic_batching=True,
        max_queue_delay_microseconds=10_000,
        preferred_batch_sizes=(4,),
    )
    batcher = DynamicBatcher(preferring, request_rows=1, timer_late_ms=0)
    for request in range(4):
        assert batcher.take(request) == []
        batcher.enqueue(float(request), request)
    assert batcher.take(3) == [0, 1, 2, 3]


def test_the_smallest_of_several_preferred_sizes_is_sent_as_soon_as_it_is_there() -> None:
    preferring = replace(config(delay_us=10_000), preferred_batch_sizes=(2, 4))
    batcher = DynamicBatcher(preferring, request_rows=1, timer_late_ms=0)
    batcher.enqueue(0, 0)
    batcher.enqueue(1, 1)
    assert batcher.take(1) == [0, 1]


@pytest.mark.parametrize(("taken_ms", "taken"), [(12, 5), (13, 8)])
def test_an_instance_merges_the_next_batch_where_it_waited_longer_than_the_delay(
    taken_ms: float, taken: int
) -> None:
    preferring = replace(config(delay_us=10_000), preferred_batch_sizes=(4,))
    batcher = DynamicBatcher(preferring, request_rows=1, timer_late_ms=0)
    for request, arrives_ms in enumerate((0, 0, 0, 0, 1, 2, 2, 2)):
        batcher.enqueue(arrives_ms, request)
    batcher.wake(12)
    assert batcher.take(taken_ms) == list(range(taken))


def test_a_delay_ends_for_what_has_come_by_then() -> None:
    batcher = DynamicBatcher(config(delay_us=10_000), request_rows=1, timer_late_ms=0.5)
    batcher.enqueue(0, 0)
    batcher.enqueue(4, 1)
    assert batcher.take(9) == []
    assert batcher.wake_at_ms == pytest.approx(10.5)
    batcher.wake(batcher.wake_at_ms)
    assert batcher.take(10.5) == [0, 1]


@pytest.mark.parametrize(("instances", "step_ms"), [(1, 140), (2, 220), (4, 360)])
def test_contending_instances_slow_each_other_down(
    tmp_path: Path, instances: int, step_ms: float
) -> None:
    model = replace(QUIET, base_ms=140.0, per_row_ms=0.0, contention=0.55)
    trace, reading = one(tmp_path, model, config(instances=instances), closed(16 * instances), 60)
    assert rate(trace) == pytest.approx(8 * instances / step_ms * 1e3, rel=0.05)
    assert reading.batches[-1].compute_ms == pytest.approx(step_ms, rel=0.05)


def test_poisson_arrivals_queue_as_theory_says(tmp_path: Path) -> None:
    """M/D/1: the mean wait is rho / (2 (1 - rho)) service times."""
    workload = Workload(load=OpenLoop(rate_per_s=60.0))
    model = replace(QUIET, base_ms=10.0, per_row_ms=0.0)
    trace, reading = one(tmp_path, model, config(dynamic=False), workload, 300)
    assert reading.server is not None
    assert reading.server.queue_ms == pytest.approx(0.6 / (2 * 0.4) * 10, rel=0.1)
    assert trace.latency_ms.mean() == pytest.approx(reading.server.queue_ms + 10, rel=0.01)


def test_constant_arrivals_come_by_the_clock(tmp_path: Path) -> None:
    workload = Workload(load=OpenLoop(rate_per_s=50.0, poisson=False))
    trace, _ = one(tmp_path, QUIET, config(dynamic=False), workload)
    assert np.diff(trace.sent_ns) / 1e6 == pytest.approx(20.0, rel=1e-6)


def test_a_late_client_of_an_open_loop_does_not_shorten_the_wait(tmp_path: Path) -> None:
    workload = Workload(load=OpenLoop(rate_per_s=50.0, poisson=False))
    stalled = replace(QUIET, faults=Faults(client_stall_s=3))
    trace, _ = one(tmp_path, stalled, config(dynamic=False), workload)
    assert np.diff(trace.sent_ns) / 1e6 == pytest.approx(20.0, rel=1e-6)
    assert trace.latency_ms.max() > 2500


def test_what_does_not_fit_into_memory_is_rejected_as_cuda_says_it(tmp_path: Path) -> None:
    model = replace(QUIET, memory_per_instance_bytes=15 * GIB, memory_total_bytes=80 * GIB)
    _, reading = one(tmp_path, model, config(instances=5), closed(4))
    assert reading.gpus[0].uuid == GPU_UUID
    assert reading.gpus[0].memory_peak_bytes == 75 * GIB
    with pytest.raises(ConfigurationRejected, match="out of memory") as caught:
        one(tmp_path, model, config(instances=6), closed(4))
    assert "Tried to allocate 15.00 GiB" in caught.value.evidence
    assert "5.00 GiB is free" in caught.value.evidence
    assert "out of memory" in (tmp_path / "server.log").read_text("utf-8")


def test_rows_of_the_largest_batch_need_memory_too(tmp_path: Path) -> None:
    model = replace(
        QUIET, memory_per_instance_bytes=GIB, memory_per_row_bytes=GIB, memory_total_bytes=32 * GIB
    )
    one(tmp_path, model, config(size=16), closed(4))
    with pytest.raises(ConfigurationRejected, match="out of memory"):
        one(tmp_path, model, config(size=32), closed(4))


def test_a_model_that_loads_too_slowly_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRejected, match="not ready within 60 s"):
        one(tmp_path, replace(QUIET, load_time_s=61.0), config(), closed(1))


def test_load_on_a_server_that_ended_aborts_the_trial(tmp_path: Path) -> None:
    simulation = world(QUIET, config())
    with simulation.server.serving(
        repository=tmp_path, model="m", log=tmp_path / "server.log", deadline_s=60
    ) as endpoint:
        pass
    with pytest.raises(TrialAborted, match=endpoint.grpc):
        simulation.load.run(
            grpc=endpoint.grpc, model="m", workload=closed(1), duration_s=1, folder=tmp_path
        )


def test_requests_larger_than_a_batch_abort_the_trial(tmp_path: Path) -> None:
    with pytest.raises(TrialAborted, match="at most 8 rows"):
        one(tmp_path, QUIET, config(), closed(1, request_batch=9))


def test_a_stall_of_the_client_empties_the_server(tmp_path: Path) -> None:
    stalled = replace(QUIET, faults=Faults(client_stall_s=3))
    trace, _ = one(tmp_path, stalled, config(), closed(32))
    start_s = (trace.sent_ns - trace.sent_ns[0]) / 1e9
    assert np.count_nonzero(start_s < 3) < 3 * 8 / 0.018 * 0.7
    in_flight = np.count_nonzero((start_s <= 2) & (start_s + trace.latency_ms / 1e3 > 2))
    assert in_flight == 6


def test_a_slow_client_is_busy_all_the_time_and_limits_the_rate(tmp_path: Path) -> None:
    trace, _ = one(tmp_path, replace(QUIET, client_ms=5.0), config(), closed(32))
    assert trace.client_cpu_pct == pytest.approx(100, abs=2)
    assert rate(trace) == pytest.approx(200, rel=0.02)


def test_a_server_that_warms_up_is_slow_until_then(tmp_path: Path) -> None:
    model = replace(QUIET, faults=Faults(warmup_s=5, warmup_factor=3))
    trace, _ = one(tmp_path, model, config(dynamic=False), closed(1))
    latency_ms, sent_s = trace.latency_ms, trace.sent_ns / 1e9
    assert latency_ms[sent_s < 5] == pytest.approx(33, rel=0.01)
    assert latency_ms[sent_s >= 5] == pytest.approx(11, rel=0.01)


def test_the_first_batch_of_each_size_is_slow(tmp_path: Path) -> None:
    (first, second), _ = measure(
        world(replace(QUIET, first_batch_ms=300.0), config(dynamic=False)),
        tmp_path,
        closed(1),
        20,
        runs=2,
    )
    assert first.latency_ms[0] == pytest.approx(311, rel=0.01)
    assert max(first.latency_ms[1:].max(), second.latency_ms.max()) < 12


def test_periodic_pauses_come_periodically(tmp_path: Path) -> None:
    model = replace(QUIET, faults=Faults(pause_every_s=1, pause_ms=200))
    trace, _ = one(tmp_path, model, config(dynamic=False), closed(1))
    paused = trace.latency_ms > 100
    duration_s = (trace.done_ns[-1] - trace.sent_ns[0]) / 1e9
    assert paused.sum() == pytest.approx(duration_s, abs=2)


def test_a_share_of_the_requests_fails(tmp_path: Path) -> None:
    trace, _ = one(
        tmp_path, replace(QUIET, faults=Faults(failing_share=0.01)), config(), closed(8), 60
    )
    assert trace.failed.mean() == pytest.approx(0.01, rel=0.3)


def test_no_fault_is_on_by_default(tmp_path: Path) -> None:
    trace, _ = one(tmp_path, QUIET, config(dynamic=False), closed(1))
    assert trace.latency_ms == pytest.approx(11, rel=0.01)
    assert not trace.failed.any()


def test_noise_has_the_variation_and_the_memory_that_were_asked_for(tmp_path: Path) -> None:
    model = replace(QUIET, cv=0.1, autocorrelation=0.8)
    trace, _ = one(tmp_path, model, config(dynamic=False), closed(1), 200)
    latency_ms = trace.latency_ms
    assert latency_ms.mean() == pytest.approx(11, rel=0.02)
    assert latency_ms.std() / latency_ms.mean() == pytest.approx(0.1, rel=0.1)
    assert np.corrcoef(latency_ms[1:], latency_ms[:-1])[0, 1] == pytest.approx(0.8, abs=0.05)


def test_telemetry_counts_only_what_it_watched(tmp_path: Path) -> None:
    simulation = world(QUIET, config(dynamic=False))
    with simulation.server.serving(
        repository=tmp_path, model="m", log=tmp_path / "server.log", deadline_s=60
    ) as up:
        readings = []
        for seconds in (1.105, 0.335):
            with simulation.telemetry.sampling(http=up.http, model="m", pid=None) as read:
                simulation.load.run(
                    grpc=up.grpc,
                    model="m",
                    workload=closed(2),
                    duration_s=seconds,
                    folder=tmp_path,
                )
                readings.append(read())
    assert [sizes(reading) for reading in readings] == [{1: 102}, {1: 32}]
    assert readings[1].server is not None
    assert readings[1].server.compute_infer_ms == pytest.approx(11)
    assert readings[1].server.queue_ms == pytest.approx(11, rel=0.05)


def test_a_table_of_sizes_takes_the_place_of_the_straight_line() -> None:
    model = replace(QUIET, table_ms={1: 110.0, 32: 110.0, 128: 140.0})
    assert [model.compute_ms(rows) for rows in (1, 16, 32, 80, 128)] == [110, 110, 110, 125, 140]
    assert model.compute_ms(224) == pytest.approx(170)


def test_a_cost_model_is_read_with_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "simulation.json"
    path.write_text(json.dumps({"table_ms": {"1": 5, "8": 9}, "faults": {"pause_ms": 3}}), "utf-8")
    read = CostModel.read(path)
    assert read.table_ms == {1: 5.0, 8: 9.0}
    assert read.faults == Faults(pause_ms=3.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"base_ms": 1, "speed": 2}', "speed"),
        ('{"base_ms": "fast"}', "base_ms"),
        ('{"base_ms": -1}', "base_ms"),
        ("{}", "above 0"),
        ("[1]", "is not a cost model"),
        ("{", "JSON"),
    ],
)
def test_a_file_that_is_no_cost_model_is_refused_by_what_is_wrong(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "simulation.json"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        CostModel.read(path)
    assert str(path) in str(caught.value)


def test_a_model_without_a_cost_model_is_a_usage_error_that_says_how_to_write_one(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="per_row_ms"):
        CostModel.read(tmp_path / "simulation.json")


def test_only_what_was_answered_in_time_is_in_the_trace(tmp_path: Path) -> None:
    trace, reading = one(tmp_path, QUIET, config(dynamic=False), closed(16), 5)
    assert trace.done_ns.max() <= trace.sent_ns.min() + 5e9
    assert len(trace.sent_ns) == pytest.approx(5000 / 11, abs=2)
    assert sizes(reading)[1] == len(trace.sent_ns) + 16


def test_a_run_goes_on_until_something_was_answered(tmp_path: Path) -> None:
    trace, _ = one(tmp_path, replace(QUIET, base_ms=5000.0), config(), closed(1), 0.1)
    assert len(trace.sent_ns) >= 1


def test_a_run_that_counts_answers_lasts_until_they_came(tmp_path: Path) -> None:
    parts = world(CostModel(base_ms=1500.0), config())
    with parts.server.serving(
        repository=tmp_path, model="m", log=tmp_path / "log", deadline_s=9.0
    ) as endpoint:
        trace = parts.load.run(
            grpc=endpoint.grpc,
            model="m",
            workload=closed(16),
            duration_s=0.1,
            folder=tmp_path,
            requests=72,
        )
    assert 72 <= len(trace.sent_ns) <= 72 + 3 * 16
    # Three windows, each of which looks for its end once a second.
    assert 13.0 <= (trace.done_ns.max() - trace.sent_ns.min()) / 1e9 <= 18.0


def test_a_run_finds_the_server_at_rest(tmp_path: Path) -> None:
    traces, _ = measure(world(QUIET, config()), tmp_path, closed(64), 2, runs=3)
    assert all(trace.latency_ms[0] == pytest.approx(11, rel=0.01) for trace in traces)


@pytest.mark.parametrize(
    "folder",
    sorted(path.parent for path in REPOSITORY.glob("*/config.pbtxt")),
    ids=lambda folder: folder.name,
)
def test_every_model_of_the_repository_can_be_simulated(folder: Path) -> None:
    assert CostModel.read(folder / FILE_NAME).compute_ms(8) > 0


@pytest.mark.parametrize(("instances", "measured_per_s"), [(1, 900), (2, 1150), (4, 1430)])
def test_falcon7b_costs_what_it_cost_on_an_h100(
    tmp_path: Path, instances: int, measured_per_s: float
) -> None:
    model = CostModel.read(REPOSITORY / "falcon7b" / FILE_NAME)
    trace, reading = one(
        tmp_path, model, config(size=128, instances=instances), closed(256 * instances), 60
    )
    assert rate(trace) == pytest.approx(measured_per_s, rel=0.1)
    assert reading.gpus[0].memory_peak_bytes == pytest.approx(instances * 15.1e9, rel=0.15)
    with pytest.raises(ConfigurationRejected, match="out of memory"):
        one(tmp_path, model, config(instances=6), closed(1))
