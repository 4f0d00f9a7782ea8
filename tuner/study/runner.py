"""From a task to a trial on disk: Optuna's trial, the attempt, the record, what Optuna is told."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from tuner.errors import MachineError, TrialAborted
from tuner.measure.record import SCHEMA, Aborted, Measured, Rejected, TrialRecord
from tuner.measure.saturation import Saturation
from tuner.study.events import TrialEnded, TrialStarted
from tuner.study.history import WORST_VIOLATION
from tuner.study.storage import now_utc
from tuner.study.task import Task
from tuner.study.trial import try_configuration

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.judge.rank import Ranked
    from tuner.measure.record import Params
    from tuner.model.config import ModelConfig
    from tuner.space.knobs import SearchSpace
    from tuner.study.bench import Bench
    from tuner.study.events import Observer
    from tuner.study.ledger import Ledger
    from tuner.study.storage import StudyStore

ABORTS_IN_A_ROW = 3
"""So many trials lost in a row through no fault of theirs, and the study gives up."""


class TaskRunner:
    """Runs the tasks of a study.

    Args:
        store: the study's record on disk.
        ledger: the same in memory.
        folder: where the evidence of each trial goes, ``FOLDER/0007``.
        config: the user's own configuration.
        kind: instance kind for a configuration that names none, such as ``KIND_CPU``.
        space: what may change.
        bench: what configurations are tried on.
        observer: is told what happens.
    """

    def __init__(
        self,
        *,
        store: StudyStore,
        ledger: Ledger,
        folder: Path,
        config: ModelConfig,
        kind: str | None,
        space: SearchSpace,
        bench: Bench,
        observer: Observer,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._folder = folder
        self._config = config
        self._kind = kind
        self._space = space
        self._bench = bench
        self._observer = observer

    def run(self, task: Task) -> TrialRecord:
        """Run one task to an outcome that tells something, trying again when it is aborted.

        Raises:
            MachineError: trial after trial was lost through no fault of theirs.
        """
        causes: list[str] = []
        while len(causes) < ABORTS_IN_A_ROW:
            attrs = {name: value for name, value in asdict(task).items() if name != "params"}
            self._store.study.enqueue_trial(dict(task.params), user_attrs=attrs)
            self._run_next()
            record = self._ledger.last
            if not isinstance(record.outcome, Aborted):
                return record
            causes.append(record.outcome.cause)
        raise MachineError(
            f"{ABORTS_IN_A_ROW} trials in a row were lost through no fault of their "
            f"configuration, the last one because: {causes[-1]} What was measured is "
            "kept; mend that and run the same command again."
        )

    def _run_next(self) -> None:
        """Run the trial that is enqueued.

        By ask and tell: of an interrupt while it writes, ``Study.optimize`` makes another error.
        What an interrupt leaves unfinished is closed when the study goes on.
        """
        study = self._store.study
        trial = study.ask()
        try:
            score = self._objective(trial)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except (TrialAborted, KeyboardInterrupt) as error:
            study.tell(trial, state=TrialState.FAIL)
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            study.tell(trial, score)

    def folder_of(self, number: int) -> Path:
        """Where the evidence of a trial is."""
        return self._folder / f"{number:04d}"

    def _objective(self, trial: optuna.Trial) -> float:
        """What Optuna runs: one configuration, tried and put on disk."""
        asked = trial.user_attrs
        saturation = asked["saturation"]
        task = Task(
            role=asked["role"],
            params=self._values(trial),
            why=asked["why"],
            replicate_of=asked["replicate_of"],
            proof_round=asked["proof_round"],
            verification=asked["verification"],
            expected_gain=asked["expected_gain"],
            saturation=None if saturation is None else Saturation(**saturation),
        )
        record, interrupt = self._try(trial.number, task)
        self._store.keep(trial, record)
        self._ledger.add(record)
        if interrupt is not None:
            raise interrupt
        best, spoken = self._ledger.best, self._ledger.speaks(record)
        self._observer.on(
            TrialEnded(record=record, spoken=spoken, best=best, baseline=self._ledger.baseline)
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
                position=self._ledger.done + 1,
                role=task.role,
                params=task.params,
                why=task.why,
            )
        )
        config, again = self._asked(task)
        spec = self._ledger.spec
        # A front has points at every load, and no single configuration is to be beaten.
        started = now_utc()
        attempt = try_configuration(
            self._bench,
            config=config,
            folder=self.folder_of(number),
            observer=self._observer,
            best=self._ledger.best if spec.front_of is None else None,
            again=again,
            start=task.saturation if spec.front_of is None else None,
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
            expected_gain=task.expected_gain,
        )
        return record, attempt.interrupt

    def _asked(self, task: Task) -> tuple[ModelConfig, Ranked | None]:
        """The configuration of a task and, for a proof, the level to measure again."""
        again = None
        if task.replicate_of is not None:
            again = self._ledger.speaks(self._ledger[task.replicate_of])
        if self._space.canonical(task.params) == self._space.default:
            return self._config, again
        return self._config.with_params(task.params, kind=self._kind), again

    def _tell(self, trial: optuna.Trial, record: TrialRecord, spoken: Ranked | None) -> float:
        """The outcome in Optuna's terms: a value and its constraints, pruned, or failed."""
        match record.outcome:
            case Measured():
                if spoken is None or not math.isfinite(spoken.score):
                    raise optuna.TrialPruned("the objective could not be measured")
                for limit in self._ledger.spec.limits:
                    miss = limit.violation(spoken.level)
                    trial.set_constraint(limit.metric, WORST_VIOLATION if miss is None else miss)
                return spoken.score
            case Rejected():
                raise optuna.TrialPruned(record.outcome.reason)
            case Aborted():
                raise TrialAborted(record.outcome.cause)
