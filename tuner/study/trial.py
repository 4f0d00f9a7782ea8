"""One trial: stage → serve → check answers → climb the ladder → stop, and what came of it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tuner.errors import ConfigurationRejected, TrialAborted
from tuner.judge.rank import far_apart
from tuner.measure.record import Aborted, Measured, Outcome, Rejected
from tuner.model.repository import stage
from tuner.model.weights import with_weights
from tuner.study.climb import climb
from tuner.study.events import PhaseStarted
from tuner.study.level import Levels
from tuner.study.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tuner.judge.rank import Ranked
    from tuner.measure.measurement import Measurement
    from tuner.measure.saturation import Saturation
    from tuner.model.config import ModelConfig
    from tuner.servers.port import Endpoint
    from tuner.study.bench import Bench
    from tuner.study.events import Observer

LOG = "server.log"

REST_DEADLINE_S = 60.0
"""A driver gives memory back within seconds of a process's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of a trial.

    Attributes:
        outcome: what is known of the configuration now.
        phases_s: seconds by phase.
        interrupt: the user's Ctrl-C, to be raised again once the outcome is on disk.
    """

    outcome: Outcome
    phases_s: Mapping[str, float]
    interrupt: KeyboardInterrupt | None = None


def try_configuration(
    bench: Bench,
    *,
    config: ModelConfig,
    folder: Path,
    observer: Observer,
    best: Ranked | None,
    again: Ranked | None,
    start: Saturation | None = None,
) -> Attempt:
    """Serve a configuration, put load on it and tell what came of it.

    Args:
        bench: the parts to try it on.
        config: what to serve.
        folder: a new folder for the evidence: the staged model, the logs, the raw requests.
        observer: is told of phases and levels.
        best: what is to be beaten; None while nothing is.
        again: the one level to measure again, for a proof, with what it came to; None climbs the
            ladder.
        start: where the configuration is expected to yield what it can; None where nobody
            knows. A wrong one costs time, and no more than `load.ladder` allows.
    """
    watch = Stopwatch()
    levels: list[Measurement] = []
    experience, fingerprint = bench.experience, config.fingerprint()
    try:
        with _serving(bench, config, folder, watch, observer) as endpoint:
            _check_answers(bench, endpoint, watch, observer, fingerprint)
            ladder = Levels(
                bench=bench,
                endpoint=endpoint,
                folder=folder,
                watch=watch,
                observer=observer,
                measured=levels,
                seen=experience.of(fingerprint),
            )
            if again is None:
                climb(ladder, config, best=best, start=start)
            else:
                far = best is not None and far_apart(again, best)
                look = ladder.far_look if far else ladder.close_look
                ladder.measure(again.level.workload, look)
    except ConfigurationRejected as error:
        outcome: Outcome = Rejected(
            reason=error.reason, evidence=error.evidence, levels=tuple(levels)
        )
    except TrialAborted as error:
        outcome = Aborted(cause=str(error), levels=tuple(levels))
    except KeyboardInterrupt as interrupt:
        outcome = Aborted(cause="It was interrupted.", levels=tuple(levels))
        return Attempt(outcome=outcome, phases_s=watch.phases_s, interrupt=interrupt)
    else:
        outcome = Measured(levels=tuple(levels))
    return Attempt(outcome=outcome, phases_s=watch.phases_s)


def _check_answers(
    bench: Bench, endpoint: Endpoint, watch: Stopwatch, observer: Observer, fingerprint: str
) -> None:
    """Let nothing be measured that answers wrongly.

    A configuration whose answers were right before is asked once, to see that it answers and to
    load what a server loads with its first request: the same files on the same server mix up
    nothing that they did not then.
    """
    if bench.gate is None:
        return
    observer.on(PhaseStarted(phase="checking the answers"))
    experience = bench.experience
    with watch.phase("check the answers"):
        if fingerprint in experience.answered:
            bench.gate.ask_once(endpoint, bench.model.name)
        else:
            alone = bench.gate.check(endpoint, bench.model.name, known=experience.alone)
            if alone is not experience.alone:
                experience.alone, experience.alone_s = alone, alone.took_s
            experience.answered.add(fingerprint)


@contextmanager
def _serving(
    bench: Bench, config: ModelConfig, folder: Path, watch: Stopwatch, observer: Observer
) -> Iterator[Endpoint]:
    """A server with the configuration; its start and its stop are timed however they end."""
    with watch.phase("stage the model"):
        folder.mkdir(parents=True)
        served = with_weights(replace(bench.model, config=config), bench.weights)
        repository = stage(bench.model, served, folder / "model_repository")
    observer.on(PhaseStarted(phase="waiting until GPU memory is free"))
    with watch.phase("wait for GPU memory"):
        bench.telemetry.rest(deadline_s=REST_DEADLINE_S)
    with ExitStack() as stack:
        observer.on(PhaseStarted(phase="loading the model"))
        with watch.phase("load the model"):
            endpoint = stack.enter_context(
                bench.server.serving(
                    repository=repository,
                    model=bench.model.name,
                    log=folder / LOG,
                    deadline_s=bench.load_deadline_s,
                )
            )
        try:
            yield endpoint
        finally:
            observer.on(PhaseStarted(phase="stopping the server"))
            with watch.phase("stop the server"):
                stack.close()
