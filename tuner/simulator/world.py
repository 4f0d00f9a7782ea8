"""The servers of one simulation that are up, by their addresses."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from tuner.servers.port import Endpoint
from tuner.simulator.device import Device

if TYPE_CHECKING:
    from tuner.simulator.batcher import SimConfig
    from tuner.simulator.cost import CostModel

FIRST_PORT = 20_000
LAST_PORT = 60_000


class Started:
    """A server from its start to its end.

    Args:
        config: what it serves.
        cost: of the model.
        entropy: seeds all its noise.
    """

    def __init__(self, config: SimConfig, cost: CostModel, entropy: tuple[int, ...]) -> None:
        self.config = config
        self.device = Device(cost, np.random.default_rng(entropy))
        self._entropy = entropy
        self._runs = 0

    def random(self) -> np.random.Generator:
        """The generator of the next run."""
        self._runs += 1
        return np.random.default_rng((*self._entropy, self._runs))


class World:
    """The servers that are up, by address. An address is used by nothing but the world."""

    def __init__(self, cost: CostModel, seed: int) -> None:
        self.cost = cost
        self._seed = seed
        self._starts: Counter[SimConfig] = Counter()
        self._port = FIRST_PORT
        self._by_address: dict[str, Started] = {}

    def add(self, config: SimConfig) -> Endpoint:
        """Start a server; its noise depends on the seed, the configuration and earlier starts."""
        self._starts[config] += 1
        digest = hashlib.sha256(repr(config).encode()).digest()
        entropy = (self._seed, int.from_bytes(digest[:8], "big"), self._starts[config])
        started = Started(config, self.cost, entropy)
        http, grpc = f"127.0.0.1:{self._port}", f"127.0.0.1:{self._port + 1}"
        self._port = self._port + 2 if self._port + 2 < LAST_PORT else FIRST_PORT
        self._by_address[http] = self._by_address[grpc] = started
        return Endpoint(http=http, grpc=grpc, metrics=None, pid=None)

    def remove(self, endpoint: Endpoint) -> None:
        """End a server."""
        del self._by_address[endpoint.http], self._by_address[endpoint.grpc]

    def find(self, address: str) -> Started | None:
        """The server at an address; None where none is up."""
        return self._by_address.get(address)
