"""The image that containers are made from: found, built from our Dockerfile, or pulled."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from docker.errors import APIError, ImageNotFound

from tuner.errors import MachineError
from tuner.servers.engine import said

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tuner.servers.engine import Engine

OUR_IMAGE: Final = "tuner-triton"
DOCKERFILE: Final = Path(__file__).with_name("Dockerfile")
_VERSION = "TRITON_SERVER_VERSION"  # set in every image that NGC or Triton's build.py makes
_LAST_LINES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that holds Triton.

    Attributes:
        id: its digest, ``sha256:…``: the same for the same content only.
        triton: version of the server in it.
    """

    id: str
    triton: str


def is_here(engine: Engine, name: str) -> bool:
    """Tell whether the engine has an image."""
    try:
        engine.client.images.get(name)
    except ImageNotFound:
        return False
    return True


def provide(
    engine: Engine, name: str, *, build_args: Mapping[str, str], say: Callable[[str], None]
) -> Image:
    """Find an image; build ours, or pull another, where it is missing.

    Args:
        engine: where it is needed.
        name: of the image.
        build_args: what the Dockerfile takes, such as RELEASE, BASE_IMAGE and TRANSFORMERS.
        say: is told what takes long.

    Raises:
        MachineError: it cannot be had, or holds no Triton.
    """
    if not is_here(engine, name):
        if name == OUR_IMAGE:
            _build(engine, build_args, say)
        else:
            pull(engine, name, say, instead=f"leave --image out: then {OUR_IMAGE} is built")
    found = engine.client.images.get(name)
    variables = dict(entry.split("=", 1) for entry in found.attrs["Config"].get("Env") or [])
    if not variables.get(_VERSION):
        raise MachineError(
            f"The image {name} does not say which Triton it holds ({_VERSION} is not set in it). "
            "Name one that is made from NGC's tritonserver by --image."
        )
    return Image(id=found.id, triton=variables[_VERSION])


def _build(engine: Engine, build_args: Mapping[str, str], say: Callable[[str], None]) -> None:
    say(
        f"There is no image {OUR_IMAGE} yet: building it from {DOCKERFILE}, once. "
        "Its base is large, so the first time may take many minutes."
    )
    last: list[str] = []
    answers = engine.client.api.build(
        fileobj=io.BytesIO(DOCKERFILE.read_bytes()),
        tag=OUR_IMAGE,
        buildargs=dict(build_args),
        network_mode="host" if engine.shares_network else None,
        rm=True,
        forcerm=True,
        decode=True,
    )
    try:
        for answer in answers:
            lines = answer.get("stream", "").splitlines()
            last = [*last, *filter(str.strip, lines)][-_LAST_LINES:]
            for line in lines:
                if line.startswith("Step "):
                    say(line)
            if "error" in answer:
                raise _not_built(answer["error"], last)
    except APIError as error:
        raise _not_built(said(error), last) from error


def sdk_image() -> str:
    """Return the name of NVIDIA's image of clients, of the release that our Dockerfile names."""
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE.read_text("utf-8"), re.MULTILINE))
    return f"nvcr.io/nvidia/tritonserver:{defaults['RELEASE']}-py3-sdk"


def pull(engine: Engine, name: str, say: Callable[[str], None], *, instead: str) -> None:
    """Pull an image.

    Args:
        engine: where it is needed.
        name: of the image.
        say: is told that it takes long.
        instead: what else the user may do where it cannot be had.

    Raises:
        MachineError: it cannot be had.
    """
    say(f"There is no image {name} here: pulling it, which may take many minutes.")
    repository, tag = _split(name)
    try:
        engine.client.images.pull(repository, tag=tag)
    except APIError as error:
        raise MachineError(
            f"The image {name} is not here and cannot be pulled: {said(error)}. Check its name "
            f"and the network, log in where it is private (docker login), or {instead}."
        ) from error


def _not_built(why: str, last: list[str]) -> MachineError:
    words = "\n  ".join(["", *last]) if last else ""
    return MachineError(
        f"The image {OUR_IMAGE} cannot be built: {' '.join(why.split()).rstrip('. ')}. Build it "
        f"by hand to see all of it: docker build -t {OUR_IMAGE} {DOCKERFILE.parent}; another base "
        f"is named by --build-arg BASE_IMAGE=….{words}"
    )


def _split(name: str) -> tuple[str, str | None]:
    """``host:5000/a/b:tag`` → its repository and tag; a digest belongs to the repository."""
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag or "@" in name:
        return name, None if "@" in name else "latest"
    return repository, tag
