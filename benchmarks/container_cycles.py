"""Start and stop the container server 200 times in a row, and look for what it leaves.

Needs a Docker engine with the image tuner-triton, such as that of tests/engine.sh::

    eval "$(tests/engine.sh up)" && python benchmarks/container_cycles.py [CYCLES]
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tuner.servers.docker import DockerServer
from tuner.servers.engine import connected

LIGHT = Path(__file__).parents[1] / "tests" / "models" / "light"


def containers_and_volumes() -> set[str]:
    """Names of all that the engine holds."""
    with connected() as engine:
        containers = engine.client.containers.list(all=True)
        volumes = engine.client.volumes.list()
    return {one.name for one in [*containers, *volumes]}


def processes_of(study: Path) -> list[str]:
    """Processes, in containers too, that carry the study's mark."""
    mark = f"TUNER_STUDY={study.resolve()}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(folder.name)
    return found


def listening(ports: set[str]) -> list[str]:
    """Those of these ports that are still listened on."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    heard = {str(int(row[1].partition(":")[2], 16)) for row in rows if row[3] == "0A"}
    return sorted(ports & heard)


def open_files() -> int:
    """How many files this process holds open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def main(cycles: int) -> None:
    """Print how long starts and stops take and what is left after all of them."""
    starts_s, stops_s = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(LIGHT, folder / "repository" / "light")
        server = DockerServer(study=folder / "study")
        files = open_files()
        before = containers_and_volumes()
        ports: set[str] = set()
        most = 0
        for _ in range(cycles):
            begun = time.monotonic()
            with server.serving(
                repository=folder / "repository",
                model="light",
                log=folder / "log",
                deadline_s=60,
            ) as endpoint:
                ready = time.monotonic()
                most = max(most, len(processes_of(folder / "study")))
                addresses = (endpoint.http, endpoint.grpc, endpoint.metrics or "")
                ports |= {address.rpartition(":")[2] for address in addresses}
            stops_s.append(time.monotonic() - ready)
            starts_s.append(ready - begun)
        left = {
            "containers and volumes": sorted(containers_and_volumes() - before),
            f"processes (of {most} at a time)": processes_of(folder / "study"),
            f"ports (of {len(ports)})": listening(ports),
            "open files": open_files() - files,
        }
    for what, there in left.items():
        print(f"{what} left: {there or 'none'}")
    for what, seconds in (("start", starts_s), ("stop", stops_s)):
        print(f"{what}: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
