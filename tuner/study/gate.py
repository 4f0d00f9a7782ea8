"""The answer gate: a configuration that mixes up requests is not measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
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

    def check(self, endpoint: Endpoint, model: str) -> None:
        """Ask; it also loads what a server loads with its first requests.

        At once, the requests leave in another order than one by one: what a model keeps from
        the request before is then another thing.

        Raises:
            ConfigurationRejected: answers differ, or carry another request's text.
            TrialAborted: no answer came.
        """
        texts = self.asker.texts
        (first,) = self.asker.ask(http=endpoint.http, model=model, numbers=[0])
        alone: list[Answer] = []
        begun_s = time.monotonic()
        for number in range(len(texts)):
            alone += self.asker.ask(http=endpoint.http, model=model, numbers=[number])
            if len(alone) >= FEWEST and time.monotonic() - begun_s > BUDGET_S:
                break
        order = list(reversed(range(len(alone))))
        together = self.asker.ask(http=endpoint.http, model=model, numbers=order)[::-1]
        found = unsteady(texts[0], first, alone[0], self.tolerance) or disagreement(
            texts[: len(alone)], alone, together, self.tolerance
        )
        if found is not None:
            raise ConfigurationRejected(found.reason, found.evidence)
