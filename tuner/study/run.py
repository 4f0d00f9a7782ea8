"""The loop: propose → try → record → learn."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import optuna

from tuner.errors import MachineError, TrialAborted, TunerError, UsageError
from tuner.judge.rank import Ranked, best_level, rank
from tuner.judge.verdict import decide
from tuner.measure.record import SCHEMA, Aborted, Measured, Rejected, TrialRecord
from tuner.study.events import SearchEnded, StudyOpened, TrialEnded, TrialStarted
from tuner.study.history import WORST_VIOLATION, seen, tells
from tuner.study.proof import FRONT_RUNNERS, front_runners, next_in_turn
from tuner.study.storage import now_utc
from tuner.study.task import Task
from tuner.study.trial import try_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tuner.measure.measurement import Workload
    from tuner.measure.record import Params
    from tuner.model.config import ModelConfig
    from tuner.search.port import Proposer, Seen
    from tuner.space.knobs import SearchSpace
    from tuner.study.bench import Bench
    from tuner.study.events import Observer
    from tuner.study.storage import StudyStore

ABORTS_IN_A_ROW = 3
"""So many trials lost in a row through no fault of theirs, and the study gives up."""

LOOK_FOR_DRIFT_AFTER = 10
"""After so many configurations the user's own is measured again in between."""


class StudyRun:
    """One session of work on a study.

    Args:
        store: the study's record.
        folder: where the evidence of each trial goes, ``FOLDER/0007``.
        config: the user's own configuration.
        kind: instance kind for a configuration that names none, such as ``KIND_CPU``.
        space: what may change.
        proposer: decides what to measure next.
        bench: what configurations are tried on.
        observer: is told what happens.
    """

    def __init__(
        self,
        *,
        store: StudyStore,
        folder: Path,
        config: ModelConfig,
        kind: str | None,
        space: SearchSpace,
        proposer: Proposer,
        bench: Bench,
        observer: Observer,
    ) -> None:
        self._store = store
        self._folder = folder
        self._config = config
        self._kind = kind
        self._space = space
        self._proposer = proposer
        self._bench = bench
        self._observer = observer
        self._records = {record.number: record for record in store.records()}
        self._session_from = max(self._records, default=-1) + 1

    def run(self, trials: int, *, proof_rounds: int) -> None:
        """Measure the user's own configuration, then what is proposed, then prove the best.

        Args:
            trials: configurations in all, those of earlier sessions included.
            proof_rounds: how often the best and the user's own are measured again in turn.

        Raises:
            TunerError: the user's own configuration cannot be served.
            MachineError: trial after trial was lost through no fault of theirs.
        """
        with self._working():
            self._open(trials, proofs=proof_rounds * (1 + FRONT_RUNNERS))
            if self._baseline is None:
                self._measure_baseline()
            self._observer.on(SearchEnded(reason=self._search(trials)))
            self._prove(proof_rounds)

    def verify(self, rounds: int) -> None:
        """Measure the winner and the user's own configuration again in turn, in new rounds.

        Args:
            rounds: how often; it ends early where one of the two cannot serve.

        Raises:
            UsageError: the study has no winner.
            TunerError: the user's own configuration cannot be served any more.
            MachineError: trial after trial was lost through no fault of theirs.
        """
        spec, records = self._store.header.spec, self._records.values()
        earlier = [record for record in records if record.verification is None]
        found = decide(earlier, spec.objective, spec.limits)
        if found.kind != "better" or found.chosen is None or found.default is None:
            raise UsageError(
                f"study {spec.name} found nothing better than your own configuration, so there is "
                f"nothing to verify; see: tune show {spec.name}"
            )
        number = 1 + max((record.verification or 0 for record in records), default=0)
        with self._working():
            self._open(self.done, proofs=2 * rounds)
            self._measure_in_turn((found.chosen,), found.default, rounds, verification=number)

    def _open(self, trials: int, *, proofs: int) -> None:
        spec = self._store.header.spec
        self._observer.on(
            StudyOpened(
                name=spec.name,
                done=self.done,
                trials=trials,
                proofs=proofs,
                objective=spec.objective,
            )
        )

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Begin where a killed run ended, and count the time."""
        begun_s = time.monotonic()
        self._store.give_up_unfinished()
        try:
            yield
        finally:
            self._store.add_wall_clock(time.monotonic() - begun_s)

    def _measure_baseline(self) -> None:
        why = "your configuration as you wrote it"
        record = self._next(Task(role="baseline", params=self._space.default, why=why))
        if isinstance(record.outcome, Rejected):
            raise TunerError(
                f"{self._store.header.spec.model} cannot be served as you wrote it, so there is "
                f"nothing to compare with: {record.outcome.reason} "
                f"The whole log is {self._trial_folder(record.number) / 'server.log'}; it ends\n"
                f"{record.outcome.evidence}"
            )

    def _search(self, trials: int) -> str:
        """Run trials until there are enough; the reason to stop, as a sentence."""
        while self.done < trials:
            if self._since_baseline >= LOOK_FOR_DRIFT_AFTER:
                self._look_for_drift()
            proposal = self._proposer.propose(self._history())
            if proposal is None:
                return f"all {self.done} configurations of the search space have been tried."
            self._next(Task(role="search", params=proposal.params, why=proposal.why))
        if self.done > trials:
            return f"{self.done} trials are done; {trials} were asked for."
        return f"{self.done} of {trials} trials are done."

    def _prove(self, rounds: int) -> None:
        """Measure the front-runners and the user's own configuration again, in turn."""
        spec, baseline = self._store.header.spec, self._baseline
        if baseline is None:
            return
        ranking = rank(self._records.values(), spec.objective, spec.limits)
        runners = front_runners(ranking, baseline, spec.objective)
        if runners:
            self._measure_in_turn(runners, baseline, rounds)
        elif rounds and self._since_baseline:
            self._look_for_drift()

    def _measure_in_turn(
        self,
        runners: Sequence[Ranked],
        baseline: Ranked,
        rounds: int,
        verification: int | None = None,
    ) -> None:
        while turn := next_in_turn(
            runners,
            baseline,
            self._records.values(),
            rounds,
            session_from=self._session_from,
            verification=verification,
        ):
            what = "proof" if verification is None else "verification"
            record = self._next(
                Task(
                    role="proof",
                    params=turn.entry.record.params,
                    why=f"{what}, round {turn.position} of {rounds}",
                    replicate_of=turn.entry.record.number,
                    proof_round=turn.number,
                    verification=verification,
                )
            )
            if verification is None or not isinstance(record.outcome, Rejected):
                continue
            if turn.entry is baseline:
                raise TunerError(
                    "your own configuration cannot be served any more, so there is nothing to "
                    f"compare with: {record.outcome.reason}"
                )
            return  # what cannot serve has lost

    def _look_for_drift(self) -> None:
        """Measure the user's own configuration again at the load that speaks for it."""
        if self._baseline is not None:
            record = self._baseline.record
            why = "your configuration again, to see whether the machine drifts"
            self._next(
                Task(role="proof", params=record.params, why=why, replicate_of=record.number)
            )

    def _next(self, task: Task) -> TrialRecord:
        """Run one task to an outcome that tells something, trying again when it is aborted."""
        causes: list[str] = []
        while len(causes) < ABORTS_IN_A_ROW:
            attrs = {name: value for name, value in asdict(task).items() if name != "params"}
            self._store.study.enqueue_trial(dict(task.params), user_attrs=attrs)
            self._store.study.optimize(self._objective, n_trials=1, catch=(TrialAborted,))
            record = self._records[max(self._records)]
            if not isinstance(record.outcome, Aborted):
                return record
            causes.append(record.outcome.cause)
        raise MachineError(
            f"{ABORTS_IN_A_ROW} trials in a row were lost through no fault of their "
            f"configuration, the last one because: {causes[-1]} What was measured is "
            "kept; mend that and run the same command again."
        )

    def _objective(self, trial: optuna.Trial) -> float:
        """What Optuna runs: one configuration, tried and put on disk."""
        asked = trial.user_attrs
        task = Task(
            role=asked["role"],
            params=self._values(trial),
            why=asked["why"],
            replicate_of=asked["replicate_of"],
            proof_round=asked["proof_round"],
            verification=asked["verification"],
        )
        record, interrupt = self._try(trial.number, task)
        self._store.keep(trial, record)
        self._records[record.number] = record
        if interrupt is not None:
            raise interrupt
        best, spoken = self._best(), self._speaks(record)
        self._observer.on(
            TrialEnded(record=record, spoken=spoken, best=best, baseline=self._baseline)
        )
        return self._tell(trial, record, spoken)

    def _values(self, trial: optuna.Trial) -> Params:
        """The enqueued values, with their ranges put on record for Optuna's own tools."""
        for knob in self._space.knobs:
            if knob.ordered:
                low, high = int(knob.values[0]), int(knob.values[-1])
                trial.suggest_int(knob.name, low, high, log=low > 0)
            else:
                trial.suggest_categorical(knob.name, knob.values)
        return {knob.name: trial.params[knob.name] for knob in self._space.knobs}

    def _try(self, number: int, task: Task) -> tuple[TrialRecord, KeyboardInterrupt | None]:
        """Try one configuration; an interrupt is handed over, so that the record comes first."""
        self._observer.on(
            TrialStarted(
                number=number,
                position=self.done + 1,
                role=task.role,
                params=task.params,
                why=task.why,
            )
        )
        config, again = self._asked(task)
        started = now_utc()
        attempt = try_configuration(
            self._bench,
            config=config,
            folder=self._trial_folder(number),
            observer=self._observer,
            best=self._best(),
            again=again,
        )
        record = TrialRecord(
            schema=SCHEMA,
            number=number,
            role=task.role,
            params=task.params,
            fingerprint=config.fingerprint(),
            config_pbtxt=config.text,
            proposal=task.why,
            outcome=attempt.outcome,
            phases_s=attempt.phases_s,
            started_at_utc=started,
            replicate_of=task.replicate_of,
            proof_round=task.proof_round,
            verification=task.verification,
        )
        return record, attempt.interrupt

    def _asked(self, task: Task) -> tuple[ModelConfig, Workload | None]:
        """The configuration of a task and, for a proof, the level to measure again."""
        again = None
        if task.replicate_of is not None:
            spoken = self._speaks(self._records[task.replicate_of])
            again = None if spoken is None else spoken.level.workload
        if self._space.canonical(task.params) == self._space.default:
            return self._config, again
        return self._config.with_params(task.params, kind=self._kind), again

    def _tell(self, trial: optuna.Trial, record: TrialRecord, spoken: Ranked | None) -> float:
        """The outcome in Optuna's terms: a value and its constraints, pruned, or failed."""
        match record.outcome:
            case Measured():
                if spoken is None or not math.isfinite(spoken.score):
                    raise optuna.TrialPruned("the objective could not be measured")
                for limit in self._store.header.spec.limits:
                    miss = limit.violation(spoken.level)
                    trial.set_constraint(limit.metric, WORST_VIOLATION if miss is None else miss)
                return spoken.score
            case Rejected():
                raise optuna.TrialPruned(record.outcome.reason)
            case Aborted():
                raise TrialAborted(record.outcome.cause)

    def _history(self) -> tuple[Seen, ...]:
        """What the proposer may learn from: the baseline and what was searched."""
        spec = self._store.header.spec
        return tuple(
            seen(r, spec.objective, spec.limits) for r in self._records.values() if tells(r)
        )

    def _speaks(self, record: TrialRecord) -> Ranked | None:
        spec = self._store.header.spec
        return best_level(record, spec.objective, spec.limits)

    def _best(self) -> Ranked | None:
        spec = self._store.header.spec
        ranking = rank(self._records.values(), spec.objective, spec.limits)
        return ranking[0] if ranking and ranking[0].feasible else None

    @property
    def _baseline(self) -> Ranked | None:
        """The user's own configuration, once it has been measured."""
        measured = [r for r in self._records.values() if r.role == "baseline"]
        return next((s for s in map(self._speaks, measured) if s is not None), None)

    @property
    def _since_baseline(self) -> int:
        """Configurations that have told something since the user's own one last did."""
        if self._baseline is None:
            return 0
        own = self._baseline.record.number
        last = max(
            r.number
            for r in self._records.values()
            if own in {r.number, r.replicate_of} and not isinstance(r.outcome, Aborted)
        )
        return sum(tells(r) for r in self._records.values() if r.number > last)

    @property
    def done(self) -> int:
        """Configurations that have told something so far, the user's own included."""
        return sum(map(tells, self._records.values()))

    def _trial_folder(self, number: int) -> Path:
        return self._folder / f"{number:04d}"
