from __future__ import annotations

from dataclasses import replace

import pytest

from tuner.errors import UsageError
from tuner.gpus import Chosen, Gpu, choose, left_by_cuda

ONE, TWO, THREE = HERE = tuple(
    Gpu(index=index, uuid=f"GPU-{letters}-0000", name="H100", memory_total_bytes=80_000_000_000)
    for index, letters in enumerate(("aaaa1111", "aaaa2222", "bbbb3333"))
)


@pytest.mark.parametrize(
    ("typed", "gpus"),
    [
        ("all", HERE),
        ("none", ()),
        ("1", (TWO,)),
        ("2, 0", (THREE, ONE)),
        ("GPU-bbbb3333-0000", (THREE,)),
    ],
)
def test_gpus_are_named_by_number_or_uuid_in_any_order(typed: str, gpus: tuple[Gpu, ...]) -> None:
    assert choose(typed, HERE) == Chosen(typed=typed, gpus=gpus, of=3)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("3", r"no GPU 3 here; there is 0 \(H100\), 1 \(H100\), 2 \(H100\)"),
        ("GPU-aaaa", "no GPU GPU-aaaa here"),
        ("b", "no GPU b here"),
        ("0,GPU-aaaa1111-0000", "twice"),
        ("0,,1", "not `all`, `none` or a list"),
        ("all,0", "not `all`, `none` or a list"),
    ],
    ids=["beyond the last", "part of a UUID", "no UUID", "twice", "a gap", "all and one"],
)
def test_what_names_no_gpu_or_one_twice_is_refused(typed: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        choose(typed, HERE)


@pytest.mark.parametrize("typed", ["all", "0"])
def test_where_there_is_no_gpu_none_can_be_named(typed: str) -> None:
    with pytest.raises(UsageError, match="--gpus"):
        choose(typed, ())


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        ("1", (TWO,)),
        ("2,1", (THREE, TWO)),
        ("GPU-bbbb", (THREE,)),
        ("1,7,0", (TWO,)),
        ("1,1,0", ()),
        ("", ()),
        ("-1", ()),
    ],
    ids=["one", "in its order", "by UUID", "ends at one unknown", "one twice", "", "-1"],
)
def test_what_cuda_is_told_to_hide_does_not_serve(visible: str, gpus: tuple[Gpu, ...]) -> None:
    assert left_by_cuda(visible, HERE, by_bus=False) == Chosen(typed=None, gpus=gpus, of=3)


@pytest.mark.parametrize("visible", [None, "0,1,2", "MIG-1234"])
def test_a_variable_that_hides_nothing_or_names_parts_of_a_gpu_changes_nothing(
    visible: str | None,
) -> None:
    assert left_by_cuda(visible, HERE, by_bus=False) is None


def test_without_a_gpu_there_is_nothing_to_hide() -> None:
    assert left_by_cuda("0", (), by_bus=False) is None


def test_numbers_of_unlike_gpus_are_understood_only_where_cuda_counts_as_nvidia_smi_does() -> None:
    unlike = (ONE, replace(TWO, name="T400"))
    assert left_by_cuda("1", unlike, by_bus=False) is None
    assert left_by_cuda("1", unlike, by_bus=True) == Chosen(typed=None, gpus=unlike[1:], of=2)
    by_uuid = left_by_cuda("GPU-aaaa2", unlike, by_bus=False)
    assert by_uuid == Chosen(typed=None, gpus=unlike[1:], of=2)
