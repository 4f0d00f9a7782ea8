"""Studies as a real run would leave them, made in code: for the tests of the reports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.judge.goal import Limit, Objective
from tuner.measure.estimate import Estimate
from tuner.measure.measurement import (
    BatchTime,
    Caveat,
    ClosedLoop,
    GpuUse,
    HostUse,
    Latency,
    Measurement,
    ServerTime,
    Workload,
)
from tuner.measure.record import SCHEMA, Aborted, Measured, Rejected, Role, TrialRecord
from tuner.space.triton import Bounds
from tuner.study.spec import StudyHeader, StudyRecord, StudySpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.measure.record import Outcome

UNSTABLE = Caveat(
    code="unstable",
    message="The throughput went from 912 to 846 requests/s 2.4 s into the measured part.",
    advice="Measure for longer; look for other work on the machine and for falling clocks.",
)
FEW = Caveat(
    code="few_samples",
    message="310 answered requests are too few to bound p99.",
    advice="About this many requests would do: 1200 for p99.",
)
OUT_OF_MEMORY = """\
I1122 10:04:11.102 model_lifecycle.cc:472] loading: falcon7b:1
E1122 10:04:31.774 backend_model.cc:692] ERROR: Failed to create instance:
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.13 GiB.
GPU 0 has a total capacity of 79.10 GiB of which 402.00 MiB is free."""

CONFIG = """\
# falcon7b, as the tutorial has it
name: "falcon7b"
backend: "python"
max_batch_size: {batch}
input [ {{ name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "text_output" data_type: TYPE_STRING dims: [ -1 ] }} ]
{batching}instance_group [ {{ count: {count} kind: {kind} }} ]
"""


def estimate(value: float, relative: float = 0.03) -> Estimate:
    """A number with a symmetric interval of that relative half-width."""
    return Estimate(
        value=value, low=value * (1 - relative), high=value * (1 + relative), n_effective=40
    )


def level(
    concurrency: int,
    throughput_per_s: float,
    p99_ms: float | None,
    *,
    instances: int = 1,
    gpu: bool = True,
    caveats: tuple[Caveat, ...] = (),
    rough_p99_ms: float | None = None,
) -> Measurement:
    """One level that obeys Little's law; a p99 that could not be bounded may have a rough one."""
    mean_ms = concurrency / throughput_per_s * 1e3
    compute_ms = mean_ms * 0.7
    tail = None if p99_ms is None else estimate(p99_ms, 0.06)
    return Measurement(
        workload=Workload(load=ClosedLoop(concurrency=concurrency)),
        throughput_per_s=estimate(throughput_per_s),
        latency=Latency(
            mean_ms=estimate(mean_ms, 0.02),
            p50_ms=estimate(mean_ms * 0.98, 0.02),
            p90_ms=estimate(mean_ms * 1.1, 0.03),
            p95_ms=estimate(mean_ms * 1.15, 0.04),
            p99_ms=tail,
            p99_rough_ms=rough_p99_ms,
        ),
        server=ServerTime(
            queue_ms=mean_ms * 0.28,
            compute_input_ms=0.06,
            compute_infer_ms=compute_ms,
            compute_output_ms=0.04,
        ),
        batches=(BatchTime(size=concurrency, count=120, compute_ms=compute_ms),),
        gpus=(_gpu(instances),) if gpu else (),
        host=HostUse(cpu_pct=104.2, memory_peak_bytes=2_310_000_000 * instances),
        requests=round(throughput_per_s * 5),
        errors=0,
        duration_s=5.0,
        discarded_s=1.1,
        caveats=caveats,
    )


def _gpu(instances: int) -> GpuUse:
    return GpuUse(
        uuid="GPU-5f2c",
        utilization_pct=min(100.0, 19.5 * instances),
        memory_peak_bytes=15_100_000_000 * instances + 700_000_000,
        memory_total_bytes=85_520_809_984,
        power_w=210.0 + 60 * instances,
    )


def trial(  # noqa: PLR0913 - one argument a property that tests vary
    number: int,
    outcome: Outcome | Sequence[Measurement],
    *,
    batch: int = 8,
    delay_us: int | None = None,
    instances: int = 1,
    role: Role = "search",
    proposal: str = "largest expected improvement",
    replicate_of: int | None = None,
    proof_round: int | None = None,
    kind: str = "KIND_GPU",
) -> TrialRecord:
    """A trial; ``delay_us`` of None is dynamic batching off."""
    block = ""
    if delay_us is not None:
        block = f"dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}\n"
    if not isinstance(outcome, Measured | Rejected | Aborted):
        outcome = Measured(levels=tuple(outcome))
    return TrialRecord(
        schema=SCHEMA,
        number=number,
        role=role,
        params={
            "dynamic_batching": delay_us is not None,
            "max_batch_size": batch,
            "max_queue_delay_microseconds": delay_us or 0,
            "instance_count": instances,
        },
        fingerprint=f"{number:016x}",
        config_pbtxt=CONFIG.format(batch=batch, batching=block, count=instances, kind=kind),
        proposal=proposal,
        outcome=outcome,
        phases_s={
            "stage the model": 0.02,
            "load the model": 11.4 + instances,
            "warm up": 3.9,
            "measure": 16.2,
            "stop the server": 1.6,
        },
        started_at_utc=f"2025-11-22T10:{number:02d}:00+00:00",
        replicate_of=replicate_of,
        proof_round=proof_round,
    )


def study(
    trials: Sequence[TrialRecord],
    *,
    model: str = "falcon7b",
    limits: tuple[Limit, ...] = (),
    environment: dict[str, str] | None = None,
) -> StudyRecord:
    """The record around trials."""
    spec = StudySpec(
        name=model,
        model=model,
        config_pbtxt=trials[0].config_pbtxt if trials else "",
        objective=Objective(metric="throughput_per_s"),
        limits=limits,
        bounds=Bounds(max_instance_count=6),
        request_batch=1,
        max_concurrency=1024,
        window_s=5.0,
        seed=7,
        sampler="auto",
    )
    header = StudyHeader(
        schema=SCHEMA,
        spec=spec,
        environment=environment
        or {
            "server": "local, tritonserver 2.51.0",
            "perf_analyzer": "2.51.0",
            "gpu": "NVIDIA H100 80GB HBM3, driver 570.86",
            "processor": "AMD EPYC 9454, 16 cores",
            "python": "3.12.1",
        },
        created_at_utc="2025-11-22T10:00:00+00:00",
    )
    inside_s = sum(sum(t.phases_s.values()) for t in trials)
    return StudyRecord(header=header, trials=tuple(trials), wall_clock_s=inside_s + 9.5)


def ladder(
    peak_per_s: float, round_ms: float, *, instances: int = 1, gpu: bool = True, top: int = 256
) -> list[Measurement]:
    """Levels of a service that saturates at a peak and answers a lone request in ``round_ms``."""
    levels = []
    concurrency = 1
    while concurrency <= top:
        wanted = concurrency / round_ms * 1e3
        served = (wanted**-4 + peak_per_s**-4) ** -0.25
        mean_ms = concurrency / served * 1e3
        levels.append(level(concurrency, served, mean_ms * 1.24, instances=instances, gpu=gpu))
        concurrency *= 4
    return levels


def gpu_study(*, proved: bool = True) -> StudyRecord:
    """Twelve configurations of falcon7b on one H100: one out of memory, one with caveats."""
    own = "your configuration as you wrote it"
    trials = [
        trial(0, ladder(41.0, 112, top=64), role="baseline", proposal=own),
        trial(1, ladder(262, 112), batch=32, delay_us=0, proposal="rule of thumb: batch more"),
        trial(2, ladder(590, 118, instances=2), batch=32, delay_us=1000, instances=2),
        trial(
            3,
            Rejected(reason="The model ran out of GPU memory.", evidence=OUT_OF_MEMORY),
            batch=64,
            delay_us=1000,
            instances=6,
            proposal="more instances",
        ),
        trial(4, ladder(812, 140, instances=2), batch=64, delay_us=5000, instances=2),
        trial(5, ladder(410, 125), batch=64, delay_us=20000),
        trial(6, ladder(1190, 160, instances=4, top=1024), batch=128, delay_us=2000, instances=4),
        trial(
            7,
            ladder(1430, 150, instances=4, top=1024),
            batch=128,
            delay_us=10000,
            instances=4,
            proposal="predicts 1400/s at p99 330 ms; most likely improvement",
        ),
        trial(8, Aborted(cause="It was interrupted."), batch=16, delay_us=0),
        trial(9, ladder(960, 150, instances=3, top=1024), batch=128, delay_us=500, instances=3),
        trial(10, ladder(880, 120), batch=128, delay_us=50000),
        trial(11, ladder(333, 121, instances=4), batch=16, delay_us=0, instances=4),
    ]
    trials[10] = replace(trials[10], outcome=_doubted(trials[10]))
    if proved:
        for again in range(3):
            wobble = 1 + 0.01 * again
            trials += [
                trial(12 + 2 * again, [level(64, 40.6 * wobble, 1890)], role="proof",
                      replicate_of=0, proof_round=again, proposal="prove"),
                trial(13 + 2 * again, [level(1024, 1415 / wobble, 905, instances=4)],
                      batch=128, delay_us=10000, instances=4, role="proof", replicate_of=7,
                      proof_round=again, proposal="prove"),
            ]  # fmt: skip
    return study(trials)


def _doubted(record: TrialRecord) -> Measured:
    """Its levels, the last one too short for a p99 and the one before unstable."""
    assert isinstance(record.outcome, Measured)
    *first, before, last = record.outcome.levels
    short = replace(last.latency, p99_ms=None)
    return Measured(
        levels=(
            *first,
            replace(before, caveats=(UNSTABLE,)),
            replace(last, latency=short, caveats=(FEW, UNSTABLE)),
        )
    )


def cpu_study() -> StudyRecord:
    """Three configurations on a machine without a GPU, none better than the user's own."""
    cpu = "KIND_CPU"
    return study(
        [
            trial(0, ladder(118, 21, gpu=False, top=16), role="baseline", kind=cpu),
            trial(1, ladder(119, 22, gpu=False, top=16), batch=16, delay_us=1000, kind=cpu),
            trial(2, ladder(84, 35, gpu=False, top=16, instances=2), instances=2, kind=cpu),
        ],
        model="falcon_tiny",
        environment={"server": "local, tritonserver 2.51.0", "processor": "2 cores"},
    )


def front_study() -> StudyRecord:
    """The same as the one on the H100, looking for throughput and a low p99."""
    found = gpu_study()
    spec = replace(found.header.spec, second=Objective(metric="latency_p99_ms"))
    return replace(found, header=replace(found.header, spec=spec))


def strict_study() -> StudyRecord:
    """Nothing keeps the limit of 50 ms."""
    return study(
        [
            trial(0, ladder(41.0, 112, top=64), role="baseline"),
            trial(1, ladder(262, 101), batch=32, delay_us=0),
        ],
        limits=(Limit(metric="latency_p99_ms", bound=50.0),),
    )


def hostile_study() -> StudyRecord:
    """Names, logs and texts that try to become part of the page."""
    script = "<script>document.title = 'taken over'</script>"
    record = trial(1, Rejected(reason=f"It said {script}.", evidence=f"{script}\n</pre>{script}"))
    base = trial(0, ladder(41.0, 112, top=64), role="baseline", proposal=script)
    caveat = Caveat(code=script, message=script, advice=script)
    doubted = replace(base, outcome=Measured(levels=(level(1, 9.0, 120, caveats=(caveat,)),)))
    return study([doubted, record], model="x<script>y", environment={script: script})
