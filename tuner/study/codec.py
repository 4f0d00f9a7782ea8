"""Records to and from plain JSON values, as the Optuna storage keeps them."""

from __future__ import annotations

from typing import Any, TypeVar

import cattrs
from cattrs.strategies import configure_tagged_union

from tuner.measure.measurement import ClosedLoop, OpenLoop
from tuner.measure.record import SCHEMA, Aborted, Measured, Rejected

T = TypeVar("T")


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(bool | int | str, lambda value, _: value)
    configure_tagged_union(ClosedLoop | OpenLoop, converter, tag_name="kind")
    configure_tagged_union(Measured | Rejected | Aborted, converter, tag_name="kind")
    return converter


_CONVERTER = _converter()


def encode(record: object) -> dict[str, Any]:
    """A record as JSON values."""
    encoded: dict[str, Any] = _CONVERTER.unstructure(record)
    return encoded


def decode(kind: type[T], values: dict[str, Any]) -> T:
    """The record again.

    Raises:
        ValueError: the values are of another schema or not of this form.
    """
    if values.get("schema") != SCHEMA:
        raise ValueError(f"schema {values.get('schema')!r}, but this version reads {SCHEMA}")
    try:
        return _CONVERTER.structure(values, kind)
    except (cattrs.BaseValidationError, KeyError, TypeError) as error:
        raise ValueError("; ".join(cattrs.transform_error(error))) from error
