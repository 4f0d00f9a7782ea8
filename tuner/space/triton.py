"""The knobs of a Triton model, bounded by the user's configuration and the machine.

``max_batch_size``
    The most rows that Triton executes at once. Powers of two.
``dynamic_batching``
    Whether requests of different clients are joined into one batch.
``max_queue_delay_microseconds``
    How long a request may wait for others to join its batch. 0, then a 1-2-5 series.
``instance_count``
    How many copies of the model run side by side, in each instance group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from tuner.space.knobs import Knob, SearchSpace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.measure.record import Params
    from tuner.space.knobs import Rule

MAX_BATCH_SIZE = "max_batch_size"
DYNAMIC_BATCHING = "dynamic_batching"
MAX_QUEUE_DELAY_US = "max_queue_delay_microseconds"
INSTANCE_COUNT = "instance_count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The widest that the knobs may go.

    Attributes:
        max_batch_size: rows.
        max_queue_delay_microseconds: microseconds.
        max_instance_count: per instance group.
    """

    max_batch_size: int = 128
    max_queue_delay_microseconds: int = 100_000
    max_instance_count: int = 1


def search_space(default: Params, bounds: Bounds, *, request_batch: int = 1) -> SearchSpace:
    """Span the space around the user's own configuration, which is always part of it.

    A model with ``max_batch_size: 0`` does not take batches at all: there only
    ``instance_count`` may change.

    Args:
        default: the knobs as the user wrote them. Without ``instance_count`` (groups of
            different counts) the instances stay as they are.
        bounds: how far to go.
        request_batch: rows in each request of the load.
    """
    knobs = []
    rules: tuple[Rule, ...] = ()
    if INSTANCE_COUNT in default:
        counts = range(1, bounds.max_instance_count + 1)
        knobs.append(
            Knob(name=INSTANCE_COUNT, values=_with_default(counts, default[INSTANCE_COUNT]))
        )
    if default[MAX_BATCH_SIZE] != 0:
        sizes = (2**power for power in range(bounds.max_batch_size.bit_length()))
        fitting = (size for size in sizes if request_batch <= size <= bounds.max_batch_size)
        delays = _one_two_five(bounds.max_queue_delay_microseconds)
        knobs = [
            Knob(name=DYNAMIC_BATCHING, values=(False, True)),
            Knob(name=MAX_BATCH_SIZE, values=_with_default(fitting, default[MAX_BATCH_SIZE])),
            Knob(
                name=MAX_QUEUE_DELAY_US, values=_with_default(delays, default[MAX_QUEUE_DELAY_US])
            ),
            *knobs,
        ]
        rules = (_no_room_to_join(request_batch), _nothing_joins(default))
    bare = SearchSpace(knobs=tuple(knobs), rules=rules, default=default)
    return SearchSpace(knobs=bare.knobs, rules=rules, default=bare.canonical(default))


def _one_two_five(high: int) -> list[int]:
    series = (step * 10**power for power in range(2, 8) for step in (1, 2, 5))
    return [0, *(value for value in series if value <= high)]


def _with_default(values: Iterable[int], default: object) -> tuple[int, ...]:
    return tuple(sorted({*values, cast("int", default)}))


def _no_room_to_join(request_batch: int) -> Rule:
    """A batch that holds one request joins nothing: the same as dynamic batching off."""

    def rule(params: Params) -> Params:
        if cast("int", params[MAX_BATCH_SIZE]) < 2 * request_batch:
            return {**params, DYNAMIC_BATCHING: False}
        return params

    return rule


def _nothing_joins(default: Params) -> Rule:
    """With dynamic batching off nothing waits and the size of a batch is the request's."""

    def rule(params: Params) -> Params:
        if params[DYNAMIC_BATCHING]:
            return params
        return {
            **params,
            MAX_BATCH_SIZE: default[MAX_BATCH_SIZE],
            MAX_QUEUE_DELAY_US: 0,
        }

    return rule
