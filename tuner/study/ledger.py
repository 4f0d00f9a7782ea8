"""What is known of a study while it runs: its records, and what the loop asks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.judge.rank import Ranked, best_level, rank
from tuner.measure.record import Aborted
from tuner.study.history import tells

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.measure.record import TrialRecord
    from tuner.study.spec import StudySpec


class Ledger:
    """The records of a study by number; new ones are added as trials end.

    Args:
        spec: of the study.
        records: those that it has.
    """

    def __init__(self, spec: StudySpec, records: Iterable[TrialRecord]) -> None:
        self.spec = spec
        self._records = {record.number: record for record in records}

    def add(self, record: TrialRecord) -> None:
        """Take a trial in that has ended."""
        self._records[record.number] = record

    def __getitem__(self, number: int) -> TrialRecord:
        return self._records[number]

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """All of them, in the order in which they ended."""
        return tuple(self._records.values())

    @property
    def last(self) -> TrialRecord:
        """The one with the highest number."""
        return self._records[max(self._records)]

    @property
    def next_number(self) -> int:
        """Above that of every trial that has ended."""
        return max(self._records, default=-1) + 1

    @property
    def done(self) -> int:
        """Configurations that have told something so far, the user's own included."""
        return sum(map(tells, self._records.values()))

    def speaks(self, record: TrialRecord) -> Ranked | None:
        """The level that speaks for a trial; None where none was measured."""
        return best_level(record, self.spec.objective, self.spec.limits)

    @property
    def ranking(self) -> tuple[Ranked, ...]:
        """Configurations that were measured, best first."""
        return rank(self._records.values(), self.spec.objective, self.spec.limits)

    @property
    def best(self) -> Ranked | None:
        """The best configuration that keeps the limits; None while there is none."""
        ranking = self.ranking
        return ranking[0] if ranking and ranking[0].feasible else None

    @property
    def baseline(self) -> Ranked | None:
        """The user's own configuration, once it has been measured."""
        measured = [r for r in self._records.values() if r.role == "baseline"]
        return next((s for s in map(self.speaks, measured) if s is not None), None)

    @property
    def since_baseline(self) -> int:
        """Configurations that have told something since the user's own one last did."""
        baseline = self.baseline
        if baseline is None:
            return 0
        own = baseline.record.number
        last = max(
            r.number
            for r in self._records.values()
            if own in {r.number, r.replicate_of} and not isinstance(r.outcome, Aborted)
        )
        return sum(tells(r) for r in self._records.values() if r.number > last)
