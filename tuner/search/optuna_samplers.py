"""Optuna's own samplers behind the port."""

from __future__ import annotations

import importlib.util
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from tuner.errors import MachineError
from tuner.search.port import Proposal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tuner.measure.record import Params, Value
    from tuner.search.port import Proposer, Seen
    from tuner.space.knobs import Knob, SearchSpace

SamplerName: TypeAlias = Literal["tpe", "gp", "random"]

_ASKS: dict[SamplerName, int] = {"tpe": 10, "gp": 2, "random": 10}
"""How often to ask for something new; an answer of the Gaussian process is dear."""

_LIMITS = "limits"


class OptunaProposer:
    """Optuna's TPE, Gaussian process or random sampler.

    The study is built anew from the history each time, so nothing has to be kept or restored.
    A configuration that cannot serve is told as PRUNED: Optuna's samplers forget FAIL and would
    propose it again.

    Args:
        space: what may change.
        sampler: which of Optuna's.
        seed: with the length of the history it makes the seed of each proposal.

    Raises:
        MachineError: ``gp`` without torch or SciPy.
    """

    def __init__(self, space: SearchSpace, *, sampler: SamplerName, seed: int) -> None:
        if sampler == "gp":
            _require_gp()
        self._space = space
        self._sampler = sampler
        self._seed = seed
        self._candidates = space.candidates()
        self._knobs = tuple(knob for knob in space.knobs if len(knob.values) > 1)

    def propose(self, history: Sequence[Seen]) -> Proposal | None:
        """Ask Optuna; what it repeats gives way to the nearest configuration not yet tried."""
        taken = {_key(self._space.canonical(seen.params)) for seen in history}
        unseen = [params for params in self._candidates if _key(params) not in taken]
        if not unseen:
            return None
        if not history:
            return Proposal(params=self._space.default, why="the default")
        last = self._space.default
        for last in self._asked(history):
            if _key(last) not in taken:
                return Proposal(params=last, why=f"proposed by Optuna's {self._sampler}")
        nearest = min(unseen, key=lambda params: self._distance(params, last))
        return Proposal(params=nearest, why=f"nearest untried to what {self._sampler} repeated")

    def _asked(self, history: Sequence[Seen]) -> Iterator[Params]:
        """What Optuna proposes, in canonical form, one answer after the other."""
        distributions = {knob.name: _distribution(knob) for knob in self._knobs}
        limited = any(seen.violation > 0 for seen in history)
        with _quiet():
            study = optuna.create_study(direction="maximize", sampler=self._make(len(history)))
            for seen in history:
                indexes = self._indexes(seen.params)
                if indexes is not None:
                    study.add_trial(_trial(seen, indexes, distributions, limited=limited))
        for _ in range(_ASKS[self._sampler]):
            with _quiet():
                trial = study.ask(distributions)
                # Left running it would push the next answer away from a place that is taken
                # only because it was good.
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            values = {knob.name: _value(knob, trial.params) for knob in self._knobs}
            yield self._space.canonical({**self._space.default, **values})

    def _make(self, tried: int) -> optuna.samplers.BaseSampler:
        seed = int(np.random.SeedSequence([self._seed, tried]).generate_state(1)[0])
        match self._sampler:
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed)
            case "gp":
                return optuna.samplers.GPSampler(seed=seed)
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)

    def _indexes(self, params: Params) -> dict[str, Value] | None:
        """As Optuna knows it; None for a configuration from outside this space."""
        if any(params.get(knob.name) not in knob.values for knob in self._knobs):
            return None
        return {
            knob.name: knob.values.index(params[knob.name]) if knob.ordered else params[knob.name]
            for knob in self._knobs
        }

    def _distance(self, one: Params, other: Params) -> float:
        """Sum over the knobs, each from 0 (same) to 1 (other end of an ordered knob)."""
        return sum(
            abs(knob.values.index(one[knob.name]) - knob.values.index(other[knob.name]))
            / (len(knob.values) - 1)
            if knob.ordered
            else float(one[knob.name] != other[knob.name])
            for knob in self._knobs
        )


def _key(params: Params) -> tuple[Value, ...]:
    return tuple(params.values())


def _distribution(knob: Knob) -> BaseDistribution:
    if knob.ordered:
        return IntDistribution(0, len(knob.values) - 1)
    return CategoricalDistribution(knob.values)


def _value(knob: Knob, params: Mapping[str, Value]) -> Value:
    answer = params[knob.name]
    return knob.values[int(answer)] if knob.ordered else answer


def _trial(
    seen: Seen,
    params: dict[str, Value],
    distributions: dict[str, BaseDistribution],
    *,
    limited: bool,
) -> optuna.trial.FrozenTrial:
    state = optuna.trial.TrialState.COMPLETE
    if seen.rejected:
        state = optuna.trial.TrialState.PRUNED
    elif seen.value is None:
        state = optuna.trial.TrialState.RUNNING
    complete = state is optuna.trial.TrialState.COMPLETE
    # The Gaussian process wants the same constraints on every complete trial, or on none.
    return optuna.trial.create_trial(
        state=state,
        value=seen.value if complete else None,
        params=params,
        distributions=distributions,
        constraints={_LIMITS: seen.violation} if complete and limited else None,
    )


def _require_gp() -> None:
    missing = [name for name in ("torch", "scipy") if importlib.util.find_spec(name) is None]
    if missing:
        raise MachineError(
            f"The Gaussian process of Optuna needs {' and '.join(missing)}, which this Python "
            f"lacks. Run `pip install {' '.join(missing)}`, or choose another sampler: auto, tpe."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's remarks on our own bookkeeping off the user's terminal."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


if TYPE_CHECKING:

    def _is_a_proposer(proposer: OptunaProposer) -> Proposer:
        return proposer
