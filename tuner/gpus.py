"""Which GPUs of this machine serve: what was typed, or what CUDA was told to leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU of this machine.

    Attributes:
        index: its number, as nvidia-smi counts.
        uuid: such as ``GPU-8932f937-d72c-4106-c12f-20bd9faed9f6``.
        name: such as ``NVIDIA H100 80GB HBM3``.
        memory_total_bytes: None where the driver does not tell.
    """

    index: int
    uuid: str
    name: str
    memory_total_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The GPUs that were chosen to serve.

    Attributes:
        typed: how the user named them; None where an environment variable did.
        gpus: in the order in which they were named.
        of: so many this machine has.
    """

    typed: str | None
    gpus: tuple[Gpu, ...]
    of: int

    @property
    def uuids(self) -> tuple[str, ...]:
        """Names that no order of counting changes."""
        return tuple(gpu.uuid for gpu in self.gpus)


def names_of(typed: str) -> tuple[str, ...] | None:
    """Read ``all`` (None), ``none`` or indexes and UUIDs with commas between.

    Raises:
        UsageError: it is none of these.
    """
    names = tuple(name.strip() for name in typed.split(","))
    if not all(names) or (len(names) > 1 and {"all", "none"} & set(names)):
        raise UsageError(f"--gpus {typed!r} is not `all`, `none` or a list such as 0,1.")
    match names:
        case ("all",):
            return None
        case ("none",):
            return ()
        case _:
            return names


def choose(typed: str, here: Sequence[Gpu]) -> Chosen:
    """Find the GPUs that were typed among those of this machine.

    Raises:
        UsageError: it cannot be read, or one of them is not here.
    """
    names = names_of(typed)
    if names is None and not here:
        raise UsageError(f"--gpus {typed}: this machine has no GPU that NVIDIA's driver knows.")
    found: list[Gpu] = list(here) if names is None else []
    for name in names or ():
        gpu = next((one for one in here if name in {str(one.index), one.uuid}), None)
        if gpu is None:
            known = ", ".join(f"{one.index} ({one.name})" for one in here) or "none"
            raise UsageError(f"--gpus {typed}: there is no GPU {name} here; there is {known}.")
        if gpu in found:
            raise UsageError(f"--gpus {typed} names {gpu.uuid} twice.")
        found.append(gpu)
    return Chosen(typed=typed, gpus=tuple(found), of=len(here))


def left_by_cuda(visible: str | None, here: Sequence[Gpu], *, by_bus: bool) -> Chosen | None:
    """Find the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves to programs.

    By CUDA's rule the list ends at the first name that fits nothing, and a GPU that is named
    twice leaves none.

    Args:
        visible: the variable; None where it is not set.
        here: the GPUs of this machine.
        by_bus: CUDA was told to count as nvidia-smi does (``CUDA_DEVICE_ORDER=PCI_BUS_ID``).

    Returns:
        None where it hides nothing, and where it cannot be told what it hides: it names parts of
        a GPU (MIG), or numbers where CUDA's order of unlike GPUs is its own.
    """
    if visible is None or not here:
        return None
    names = [name.strip() for name in visible.split(",")]
    unlike = len({gpu.name for gpu in here}) > 1
    numbered = unlike and not by_bus and any(name.isdecimal() for name in names)
    if numbered or any(name.startswith("MIG-") for name in names):
        return None
    found: list[Gpu] = []
    for name in names:
        gpu = _seen_by_cuda(name, here)
        if gpu is None:
            break
        found.append(gpu)
    if len(set(found)) < len(found):
        found = []
    return None if found == list(here) else Chosen(typed=None, gpus=tuple(found), of=len(here))


def _seen_by_cuda(name: str, here: Sequence[Gpu]) -> Gpu | None:
    """By its number, or by as much of its UUID as only one has."""
    fits = [gpu for gpu in here if name == str(gpu.index) or gpu.uuid.startswith(name)]
    return fits[0] if len(fits) == 1 and name else None
