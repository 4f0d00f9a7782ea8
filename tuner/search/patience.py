"""When a search has found what it will find."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NEGLIGIBLE_GAIN = 0.003
"""A proposal that is expected to raise the best by less than this share of it promises nothing."""

PATIENCE = 4
"""So many proposals in a row that promise nothing, and the search is over."""


def worth_going_on(
    expected_gains: Sequence[float | None],
    *,
    negligible: float = NEGLIGIBLE_GAIN,
    patience: int = PATIENCE,
) -> bool:
    """Whether to measure what was proposed last.

    Args:
        expected_gains: ``Proposal.expected_gain`` of each proposal so far, in their order, the
            one that waits to be measured included.
        negligible: gains below this promise nothing. None (nothing is known, or nothing keeps
            the limits yet) always promises something.
        patience: how many in a row may promise nothing before the last of them is dropped.
    """
    last = expected_gains[-patience:]
    promising = [gain is None or gain >= negligible for gain in last]
    return len(last) < patience or any(promising)
