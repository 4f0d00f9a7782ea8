"""The rounds of the proof, measured one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.errors import TunerError
from tuner.judge.sure import is_sure
from tuner.measure.record import Rejected
from tuner.study.events import ProofStarted, ProofSure
from tuner.study.proof import next_in_turn
from tuner.study.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.judge.rank import Ranked
    from tuner.study.events import Observer
    from tuner.study.ledger import Ledger
    from tuner.study.proof import Turn
    from tuner.study.runner import TaskRunner


class Rounds:
    """Measures configurations and the user's own again in turn, in one session.

    Args:
        ledger: the study's records.
        runner: measures.
        observer: is told what happens.
    """

    def __init__(self, *, ledger: Ledger, runner: TaskRunner, observer: Observer) -> None:
        self._ledger = ledger
        self._runner = runner
        self._observer = observer
        self._session_from = ledger.next_number

    def measure(
        self,
        runners: Sequence[Ranked],
        baseline: Ranked,
        rounds: int,
        *,
        rounds_if_plain: int,
        verification: int | None = None,
    ) -> None:
        """Measure what is missing of the rounds that were asked for.

        Args:
            runners: from `study.proof.front_runners`, or the winner that is verified.
            baseline: the user's own configuration.
            rounds: how many there are to be, those of earlier sessions included.
            rounds_if_plain: after so many the rest is left out where the gain is plain.
            verification: number of the `tune verify`, which ends where something cannot serve;
                None for the study's own proof.

        Raises:
            TunerError: the user's own configuration cannot be served when it is verified.
            MachineError: trial after trial was lost through no fault of theirs.
        """
        announced = False
        while turn := next_in_turn(
            runners,
            baseline,
            self._ledger.records,
            rounds,
            session_from=self._session_from,
            verification=verification,
        ):
            done = turn.position - 1
            if turn.begins and done >= rounds_if_plain and self._is_sure(runners, baseline):
                self._observer.on(ProofSure(rounds=done, of=rounds))
                return
            if not announced:
                self._announce(1 + len(runners), rounds - done, max(rounds_if_plain - done, 0))
                announced = True
            record = self._runner.run(_task(turn, rounds, verification))
            if verification is None or not isinstance(record.outcome, Rejected):
                continue
            if turn.entry is baseline:
                raise TunerError(
                    "your own configuration cannot be served any more, so there is nothing to "
                    f"compare with: {record.outcome.reason}"
                )
            return  # what cannot serve has lost

    def _announce(self, each: int, rounds: int, rounds_if_plain: int) -> None:
        self._observer.on(
            ProofStarted(trials=each * rounds, trials_if_plain=each * rounds_if_plain)
        )

    def _is_sure(self, runners: Sequence[Ranked], baseline: Ranked) -> bool:
        spec = self._ledger.spec
        own = [record for record in self._ledger.records if record.verification is None]
        return is_sure(own, runners, spec.objective, spec.limits, default=baseline)


def _task(turn: Turn, rounds: int, verification: int | None) -> Task:
    what = "proof" if verification is None else "verification"
    return Task(
        role="proof",
        params=turn.entry.record.params,
        why=f"{what}, round {turn.position} of {rounds}",
        replicate_of=turn.entry.record.number,
        proof_round=turn.number,
        verification=verification,
    )
