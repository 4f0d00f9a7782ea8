"""How long a study still takes, by what it has told so far."""

from __future__ import annotations

import math
import time
from statistics import fmean
from typing import TYPE_CHECKING

from tuner.judge.sure import looks_plain
from tuner.study.budget import proof_trial_s, took_s
from tuner.study.events import (
    ProofStarted,
    ProofSure,
    SearchEnded,
    StudyOpened,
    TrialEnded,
    TrialStarted,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.judge.goal import Objective
    from tuner.judge.rank import Ranked
    from tuner.study.events import Event

_RECENT = 5
"""So many of the last trials say how long the next one takes."""


class Outlook:
    """Knows how many trials are left, and how long the last ones took.

    Args:
        clock: tells the time in seconds, from whenever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._objective: Objective | None = None
        self._ends_at_s = math.inf
        self._trials = self._position = 0
        self._proofs_left = self._proofs_spared = 0
        self._proving = False
        self._begun_s = 0.0
        self._pace = 1.0  # seconds for each that a record tells: few where they are simulated
        self._searched_s: list[float] = []
        self._proved_s: list[float] = []

    def note(self, event: Event) -> None:
        """Learn from an event."""
        match event:
            case StudyOpened():
                self._objective, self._trials = event.objective, event.trials
                self._proofs_left = event.proofs
                self._proofs_spared = event.proofs - event.proofs_if_plain
                if event.time_left_s is not None:
                    self._ends_at_s = self._clock() + max(event.time_left_s, 0.0)
            case TrialStarted():
                self._begun_s, self._position = self._clock(), event.position
                if self._proving:
                    self._proofs_left = max(self._proofs_left - 1, 0)
            case TrialEnded():
                self._learn(event)
            case SearchEnded():
                self._trials = self._position = 0  # none of the search is left
            case ProofStarted():
                self._proving = True
                self._proofs_left = event.trials
                self._proofs_spared = event.trials - event.trials_if_plain
            case ProofSure():
                self._proofs_left = 0
            case _:
                pass

    def _learn(self, event: TrialEnded) -> None:
        """Remember how long trials take: those of the search, and those of the proof.

        The user's own is measured at more levels than what is compared with it, and at fewer
        where it only looks for drift; it tells of neither.
        """
        length_s, told_s = self._clock() - self._begun_s, took_s(event.record)
        self._pace = length_s / told_s if told_s else 1.0
        if event.record.role == "search":
            self._searched_s.append(length_s)
        elif event.record.proof_round is not None:
            self._proved_s.append(length_s)

    def left_s(self, best: Ranked | None, baseline: Ranked | None) -> float | None:
        """Seconds to the end, as it looks; None while too little is known.

        Args:
            best: what would be proved; None while nothing keeps the limits.
            baseline: the user's own configuration; None until it has been measured.
        """
        trials = max(self._trials - self._position, 0)
        trial_s, proof_s = _recent(self._searched_s), _recent(self._proved_s)
        if trial_s is None and trials:
            return None
        if proof_s is None and trial_s is not None and best is not None:
            proof_s = self._pace * _proof_s(best, baseline)
        if proof_s is None:
            proof_s = trial_s
        if proof_s is None:
            return None
        left_s = trials * (trial_s or 0.0) + self._proofs_ahead(best, baseline) * proof_s
        return min(left_s, max(self._ends_at_s - self._clock(), 0.0)) if trials else left_s

    def _proofs_ahead(self, best: Ranked | None, baseline: Ranked | None) -> int:
        """So many as a plain gain takes, as long as it looks plain and these are not over."""
        ahead = self._proofs_left - self._proofs_spared
        if ahead < 0 or best is None or baseline is None or self._objective is None:
            return self._proofs_left
        return ahead if looks_plain(best, baseline, self._objective) else self._proofs_left


def _proof_s(best: Ranked, baseline: Ranked | None) -> float:
    """Seconds, by the records, for one measurement of a proof: two of three are of winners."""
    mine = proof_trial_s((), best)
    return mine if baseline is None else (2 * mine + proof_trial_s((), baseline)) / 3


def _recent(lengths_s: list[float]) -> float | None:
    return fmean(lengths_s[-_RECENT:]) if lengths_s else None
