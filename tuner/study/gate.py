"""The answer gate: a configuration that mixes up requests is not measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tuner.errors import ConfigurationRejected
from tuner.measure.agreement import disagreement, unsteady

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.load.port import Asker
    from tuner.measure.agreement import Disagreement
    from tuner.measure.answers import Answer, Tolerance
    from tuner.servers.port import Endpoint

FEWEST = 3
"""So many requests are asked however long they take: enough for one to be in the middle."""

BUDGET_S = 0.4
"""Beyond the fewest, requests are asked one by one for so long; all at once takes less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """How a model answers requests that are alone on its server.

    Attributes:
        answers: one a request, in the asker's order.
        took_s: how long one took: the median without the first, cold one.
    """

    answers: tuple[Answer, ...]
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Asks different requests one by one and then at once.

    Attributes:
        asker: sends the requests.
        tolerance: how far the answers may differ, as the model's folder declares it.
    """

    asker: Asker
    tolerance: Tolerance

    def check(self, endpoint: Endpoint, model: str, known: Alone | None = None) -> Alone:
        """Ask; it also loads what a server loads with its first requests.

        At once, the requests leave in another order than one by one: what a model keeps from
        the request before is then another thing. If something is wrong, one request is repeated
        alone, to tell whether the model answers it in two ways even then.

        Args:
            endpoint: of the server.
            model: its name.
            known: how the same model answered under another configuration. A request that is
                alone is joined with none, so it is answered alike under all of them: where the
                answers that were given at once agree with these, nobody has to be asked alone.
                Where they do not, they have to agree with this configuration's own.

        Returns:
            What the answers were compared with.

        Raises:
            ConfigurationRejected: answers differ, or carry another request's text.
            TrialAborted: no answer came.
        """
        if known is None:
            alone = self._each_alone(endpoint, model)
            together = self._at_once(endpoint, model, len(alone.answers))
        else:
            count = len(known.answers)
            together = self._at_once(endpoint, model, count)
            if self._mistake(known, together) is None:
                return known
            alone = self._each_alone(endpoint, model, count)
        found = self._mistake(alone, together)
        if found is not None:
            # The first of three follows another request, whose traces it may carry.
            _, one, two = (self._alone(endpoint, model) for _ in range(3))
            found = unsteady(self.asker.texts[0], one, two, self.tolerance) or found
            raise ConfigurationRejected(found.reason, found.evidence)
        return alone

    def _each_alone(self, endpoint: Endpoint, model: str, count: int | None = None) -> Alone:
        """Ask so many requests one by one; by default as many as the budget allows."""
        answers: list[Answer] = []
        took_s: list[float] = []
        begun_s = last_s = time.monotonic()
        for number in range(len(self.asker.texts) if count is None else count):
            answers += self.asker.ask(http=endpoint.http, model=model, numbers=[number])
            now_s = time.monotonic()
            took_s.append(now_s - last_s)
            last_s = now_s
            enough = len(answers) >= FEWEST and now_s - begun_s > BUDGET_S
            if count is None and enough:
                break
        return Alone(answers=tuple(answers), took_s=median(took_s[1:] or took_s))

    def _at_once(self, endpoint: Endpoint, model: str, count: int) -> tuple[Answer, ...]:
        """The answers to the first requests, sent at once and in another order."""
        order = list(reversed(range(count)))
        return self.asker.ask(http=endpoint.http, model=model, numbers=order)[::-1]

    def _mistake(self, alone: Alone, together: Sequence[Answer]) -> Disagreement | None:
        texts = self.asker.texts[: len(together)]
        return disagreement(texts, alone.answers, together, self.tolerance)

    def ask_once(self, endpoint: Endpoint, model: str) -> None:
        """Ask one request, whatever it is answered.

        Raises:
            ConfigurationRejected: it is answered with an error.
            TrialAborted: no answer came.
        """
        self._alone(endpoint, model)

    def _alone(self, endpoint: Endpoint, model: str) -> Answer:
        (answer,) = self.asker.ask(http=endpoint.http, model=model, numbers=[0])
        return answer
