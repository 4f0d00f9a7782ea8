"""The answer gate: a configuration that mixes up requests is not measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tuner.errors import ConfigurationRejected
from tuner.measure.agreement import disagreement, unsteady

if TYPE_CHECKING:
    from tuner.load.port import Asker
    from tuner.measure.answers import Answer, Tolerance
    from tuner.servers.port import Endpoint

FEWEST = 3
"""So many requests are asked however long they take: enough for one to be in the middle."""

BUDGET_S = 0.4
"""Beyond the fewest, requests are asked one by one for so long; all at once takes less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Asks different requests one by one and then at once.

    Attributes:
        asker: sends the requests.
        tolerance: how far the answers may differ, as the model's folder declares it.
    """

    asker: Asker
    tolerance: Tolerance

    def check(self, endpoint: Endpoint, model: str) -> float:
        """Ask; it also loads what a server loads with its first requests.

        At once, the requests leave in another order than one by one: what a model keeps from
        the request before is then another thing. If something is wrong, one request is repeated
        alone, to tell whether the model answers it in two ways even then.

        Returns:
            How long a request took that was alone, in s: the median without the first, cold one.

        Raises:
            ConfigurationRejected: answers differ, or carry another request's text.
            TrialAborted: no answer came.
        """
        texts = self.asker.texts
        alone: list[Answer] = []
        took_s: list[float] = []
        begun_s = last_s = time.monotonic()
        for number in range(len(texts)):
            alone += self.asker.ask(http=endpoint.http, model=model, numbers=[number])
            now_s = time.monotonic()
            took_s.append(now_s - last_s)
            last_s = now_s
            if len(alone) >= FEWEST and now_s - begun_s > BUDGET_S:
                break
        order = list(reversed(range(len(alone))))
        together = self.asker.ask(http=endpoint.http, model=model, numbers=order)[::-1]
        found = disagreement(texts[: len(alone)], alone, together, self.tolerance)
        if found is not None:
            # The first of three follows another request, whose traces it may carry.
            _, one, two = (self._alone(endpoint, model) for _ in range(3))
            found = unsteady(texts[0], one, two, self.tolerance) or found
            raise ConfigurationRejected(found.reason, found.evidence)
        return median(took_s[1:] or took_s)

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
