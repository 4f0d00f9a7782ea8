"""The loop: propose → try → record → learn."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuner.errors import TunerError, UsageError
from tuner.judge.verdict import decide
from tuner.measure.record import Rejected
from tuner.study.budget import Budget, out_of_patience, out_of_time, spent_s
from tuner.study.events import SearchEnded, StudyOpened
from tuner.study.history import first_weight, seen, seen_along_front, tells
from tuner.study.ledger import Ledger
from tuner.study.measurable import require_measurable
from tuner.study.proof import FRONT_RUNNERS, front_runners
from tuner.study.rounds import Rounds
from tuner.study.runner import TaskRunner
from tuner.study.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner.model.config import ModelConfig
    from tuner.search.port import Proposal, Proposer, Seen
    from tuner.space.knobs import SearchSpace
    from tuner.study.bench import Bench
    from tuner.study.events import Observer
    from tuner.study.storage import StudyStore

LOOK_FOR_DRIFT_AFTER = 15
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
        self._space = space
        self._proposer = proposer
        self._observer = observer
        self._ledger = Ledger(store.header.spec, store.records())
        self._begun_s = time.monotonic()
        self._runner = TaskRunner(
            store=store,
            ledger=self._ledger,
            folder=folder,
            config=config,
            kind=kind,
            space=space,
            bench=bench,
            observer=observer,
        )
        self._rounds = Rounds(ledger=self._ledger, runner=self._runner, observer=observer)

    def run(
        self,
        trials: int,
        *,
        proof_rounds: int,
        all_rounds: bool = True,
        time_limit_s: float | None = None,
        patience: int = 0,
    ) -> None:
        """Measure the user's own configuration, then what is proposed, then prove the best.

        Args:
            trials: configurations in all, those of earlier sessions included.
            proof_rounds: how often the best and the user's own are measured again in turn.
            all_rounds: even where the gain is plain after fewer (`judge.sure`).
            time_limit_s: for all sessions together, the proof included; None for none.
            patience: so many proposals in a row that promise nothing end the search; 0 for never.

        Raises:
            UsageError: a metric that is an objective or a limit cannot be measured here.
            TunerError: the user's own configuration cannot be served.
            MachineError: trial after trial was lost through no fault of theirs.
        """
        budget = Budget(
            trials=trials,
            proof_rounds=proof_rounds,
            all_rounds=all_rounds,
            time_limit_s=time_limit_s,
            patience=patience,
        )
        with self._working():
            self._store.end_search("")
            self._open(
                trials,
                proofs=proof_rounds * (1 + FRONT_RUNNERS),
                proofs_if_plain=budget.rounds_if_plain * (1 + FRONT_RUNNERS),
                limit_s=time_limit_s,
            )
            if self._ledger.baseline is None:
                self._measure_baseline()
            require_measurable(self._ledger)
            reason = self._search(budget)
            self._store.end_search(reason)
            self._observer.on(SearchEnded(reason=reason))
            self._prove(budget)

    def verify(self, rounds: int) -> None:
        """Measure the winner and the user's own configuration again in turn, in new rounds.

        Args:
            rounds: how often; it ends early where one of the two cannot serve.

        Raises:
            UsageError: the study has no winner.
            TunerError: the user's own configuration cannot be served any more.
            MachineError: trial after trial was lost through no fault of theirs.
        """
        spec, records = self._ledger.spec, self._ledger.records
        earlier = [record for record in records if record.verification is None]
        found = decide(earlier, spec.objective, spec.limits)
        if found.kind != "better" or found.chosen is None or found.default is None:
            raise UsageError(
                f"study {spec.name} found nothing better than your own configuration, so there is "
                f"nothing to verify; see: tune show {spec.name}"
            )
        number = 1 + max((record.verification or 0 for record in records), default=0)
        with self._working():
            self._open(self._ledger.done, proofs=2 * rounds, proofs_if_plain=2 * rounds)
            self._rounds.measure(
                (found.chosen,), found.default, rounds, rounds_if_plain=rounds, verification=number
            )

    def _open(
        self, trials: int, *, proofs: int, proofs_if_plain: int, limit_s: float | None = None
    ) -> None:
        spec, known_s = self._ledger.spec, self._store.wall_clock_s
        trials = min(trials, len(self._space.candidates()))
        left_s = None if limit_s is None else limit_s - spent_s(self._ledger.records, known_s)
        self._observer.on(
            StudyOpened(
                name=spec.name,
                done=self._ledger.done,
                trials=trials,
                proofs=proofs,
                proofs_if_plain=proofs_if_plain,
                objective=spec.objective,
                time_left_s=left_s,
            )
        )

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Begin where a killed run ended, and count the time."""
        self._begun_s = time.monotonic()
        self._store.give_up_unfinished()
        try:
            yield
        finally:
            self._store.add_wall_clock(time.monotonic() - self._begun_s)

    def _measure_baseline(self) -> None:
        why = "your configuration as you wrote it"
        record = self._runner.run(Task(role="baseline", params=self._space.default, why=why))
        if isinstance(record.outcome, Rejected):
            log = self._runner.folder_of(record.number) / "server.log"
            raise TunerError(
                f"{self._ledger.spec.model} cannot be served as you wrote it, so there is "
                f"nothing to compare with: {record.outcome.reason} "
                f"The whole log is {log}; it ends\n{record.outcome.evidence}"
            )

    def _search(self, budget: Budget) -> str:
        """Run trials until there are enough; the reason to stop, as a sentence."""
        ledger = self._ledger
        while ledger.done < budget.trials:
            known_s = self._store.wall_clock_s + time.monotonic() - self._begun_s
            if late := out_of_time(ledger, known_s, budget):
                return late
            if ledger.since_baseline >= LOOK_FOR_DRIFT_AFTER:
                self._look_for_drift()
            proposal = self._proposer.propose(self._history())
            if proposal is None:
                return f"all {ledger.done} configurations of the search space have been tried."
            if enough := out_of_patience(ledger.records, proposal.expected_gain, budget):
                return enough
            self._runner.run(
                Task(
                    role="search",
                    params=proposal.params,
                    why=self._why(proposal),
                    expected_gain=proposal.expected_gain,
                    saturation=proposal.saturation,
                )
            )
        if ledger.done > budget.trials:
            return f"{ledger.done} trials are done; {budget.trials} were asked for."
        return f"{ledger.done} of {budget.trials} trials are done."

    def _prove(self, budget: Budget) -> None:
        """Measure the front-runners and the user's own configuration again, in turn."""
        spec, baseline, rounds = self._ledger.spec, self._ledger.baseline, budget.proof_rounds
        if baseline is None:
            return
        runners = front_runners(self._ledger.ranking, baseline, spec.objective, spec.limits)
        if runners:
            self._rounds.measure(runners, baseline, rounds, rounds_if_plain=budget.rounds_if_plain)
        elif rounds and self._ledger.since_baseline:
            self._look_for_drift()

    def _look_for_drift(self) -> None:
        """Measure the user's own configuration again at the load that speaks for it."""
        if self._ledger.baseline is not None:
            record = self._ledger.baseline.record
            why = "your configuration again, to see whether the machine drifts"
            self._runner.run(
                Task(role="proof", params=record.params, why=why, replicate_of=record.number)
            )

    def _history(self) -> tuple[Seen, ...]:
        """What the proposer may learn from: the baseline and what was searched."""
        spec = self._ledger.spec
        told = [record for record in self._ledger.records if tells(record)]
        if spec.front_of is None:
            return tuple(seen(record, spec.objective, spec.limits) for record in told)
        return seen_along_front(told, spec.front_of, spec.limits, first_weight(len(told)))

    def _why(self, proposal: Proposal) -> str:
        """The proposer's phrase; on a front, with what it was asked to look for."""
        if self._ledger.spec.front_of is None:
            return proposal.why
        weight = first_weight(self._ledger.done)
        names = [objective.name for objective in self._ledger.spec.front_of]
        return f"{proposal.why}; weighing {names[0]} {weight:.0%}, {names[1]} {1 - weight:.0%}"
