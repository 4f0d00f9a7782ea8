"""The loop: propose → try → record → learn."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import optuna

from tuner.errors import MachineError, TrialAborted, TunerError
from tuner.judge.rank import Ranked, best_level, rank
from tuner.measure.record import SCHEMA, Aborted, Measured, Rejected, TrialRecord
from tuner.search.port import Seen
from tuner.study.events import SearchEnded, TrialEnded, TrialStarted
from tuner.study.proof import front_runners, next_in_turn
from tuner.study.storage import now_utc
from tuner.study.trial import try_configuration

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.measure.measurement import Workload
    from tuner.measure.record import Params, Role
    from tuner.model.config import ModelConfig
    from tuner.search.port import Proposer
    from tuner.space.knobs import SearchSpace
    from tuner.study.bench import Bench
    from tuner.study.events import Observer
    from tuner.study.storage import StudyStore

ABORTS_IN_A_ROW = 3
"""So many trials lost in a row through no fault of theirs, and the study gives up."""

WORST_VIOLATION = 10.0
"""What a proposer is told of a limit whose metric could not be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to run next, as Optuna keeps it between the proposal and the trial.

    Attributes:
        role: why it is run.
        params: in canonical form.
        why: one phrase.
        replicate_of: for a proof, the trial that is measured again.
        proof_round: for a proof, its round.
    """

    role: Role
    params: Params
    why: str
    replicate_of: int | None = None
    proof_round: int | None = None


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

    def run(self, trials: int, *, proof_rounds: int) -> None:
        """Measure the user's own configuration, then what is proposed, then prove the best.

        Args:
            trials: configurations in all, those of earlier sessions included.
            proof_rounds: how often the best and the user's own are measured again in turn.

        Raises:
            TunerError: the user's own configuration cannot be served.
            MachineError: trial after trial was lost through no fault of theirs.
        """
        begun_s = time.monotonic()
        self._store.give_up_unfinished()
        try:
            if self._baseline is None:
                self._measure_baseline()
            self._observer.on(SearchEnded(reason=self._search(trials)))
            self._prove(proof_rounds)
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
            proposal = self._proposer.propose(self._history())
            if proposal is None:
                return f"all {self.done} configurations of the search space have been tried."
            self._next(Task(role="search", params=proposal.params, why=proposal.why))
        return f"{self.done} of {trials} trials are done."

    def _prove(self, rounds: int) -> None:
        """Measure the front-runners and the user's own configuration again, in turn."""
        spec, baseline = self._store.header.spec, self._baseline
        if baseline is None:
            return
        ranking = rank(self._records.values(), spec.objective, spec.limits)
        runners = front_runners(ranking, baseline, spec.objective)
        while runners and (
            turn := next_in_turn(runners, baseline, self._records.values(), rounds)
        ):
            entry, number = turn
            self._next(
                Task(
                    role="proof",
                    params=entry.record.params,
                    why=f"proof, round {number + 1} of {rounds}",
                    replicate_of=entry.record.number,
                    proof_round=number,
                )
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
        )
        record, interrupt = self._try(trial.number, task)
        self._store.keep(trial, record)
        self._records[record.number] = record
        if interrupt is not None:
            raise interrupt
        best, spoken = self._best(), self._speaks(record)
        self._observer.on(TrialEnded(record=record, best=best, baseline=self._baseline))
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
                if spoken is None:
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
        return tuple(self._seen(r) for r in self._records.values() if _tells(r))

    def _seen(self, record: TrialRecord) -> Seen:
        spoken = self._speaks(record)
        return Seen(
            params=record.params,
            value=None if spoken is None else spoken.score,
            violation=0.0 if spoken is None else min(max(spoken.violation, 0.0), WORST_VIOLATION),
            rejected=spoken is None,
            levels=record.outcome.levels if isinstance(record.outcome, Measured) else (),
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
    def done(self) -> int:
        """Configurations that have told something so far, the user's own included."""
        return sum(map(_tells, self._records.values()))

    def _trial_folder(self, number: int) -> Path:
        return self._folder / f"{number:04d}"


def _tells(record: TrialRecord) -> bool:
    """Whether a trial counts: a baseline that was rejected is measured again once mended."""
    match record.outcome:
        case Measured():
            return record.role != "proof"
        case Rejected():
            return record.role == "search"
        case Aborted():
            return False
