"""The rounds of the proof as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.report.describe import config_name
from tuner.report.numbers import cell, words
from tuner.report.tables import Column, Row, Table

if TYPE_CHECKING:
    from tuner.judge.verdict import Answer
    from tuner.study.spec import StudySpec


def in_turn(found: Answer, spec: StudySpec) -> Table | None:
    """What was measured again, round by round: the candidates of these rounds and the user's own.

    Args:
        found: the answer; the rounds are those of the proof that decides.
        spec: of the study.

    Returns:
        One column a candidate, the deciding one first, and the default; None without a round.
    """
    if found.proof is None or not found.proof.rounds:
        return None
    metric, numbers = spec.objective.row, {one.number for one in found.proof.rounds}
    beside = [p for p in found.beside if any(one.number in numbers for one in p.rounds)]
    proofs = (found.proof, *beside)
    entries = {entry.record.number: entry for entry in found.ranked}
    names = [config_name(spec.model, entries[proof.number].record) for proof in proofs]
    of_candidates = [{one.number: one.mine for one in proof.rounds} for proof in proofs]
    return Table(
        columns=(
            Column(header="Round", key="round", numeric=False),
            *(
                Column(header=f"{who}: {metric.header}", key=who, help="On a fresh server.")
                for who in (*names, "Default")
            ),
        ),
        rows=tuple(
            Row(
                cells=(
                    words(str(position)),
                    *(cell(values.get(one.number)) for values in of_candidates),
                    cell(one.default),
                )
            )
            for position, one in enumerate(found.proof.rounds, start=1)
        ),
    )
