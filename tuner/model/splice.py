"""Edits to a config.pbtxt that leave every byte they do not have to touch as it was."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.model.pbtxt import Array, Document, Element, Field, Message

_LINE_END = re.compile(r"[ \t]*(?:\r?\n|\Z)")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\n]*?)?(?=\r?\n|\Z)")
_BLANK = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Splice:
    """Put ``new`` in place of the characters from ``start`` up to ``end``."""

    start: int
    end: int
    new: str


def apply(text: str, splices: Iterable[Splice]) -> str:
    """Make all edits at once; they do not overlap."""
    for splice in sorted(splices, reverse=True):
        text = text[: splice.start] + splice.new + text[splice.end :]
    return text


def add(document: Document, message: Message, field: str) -> Splice:
    """Add a field, written out, as the last one of a message.

    It goes on a line of its own where the last field ends its line, else beside it, so that a
    comment stays with what it speaks of.
    """
    text = document.text
    if not message.fields:
        at = message.body_start
        if message is document.root:
            return Splice(start=at, end=at, new=field + _newline(text))
        after = text[at : at + 1]
        return Splice(start=at, end=at, new=f" {field}{'' if after.isspace() else ' '}")
    last = message.fields[-1]
    if rest := _REST_OF_LINE.match(text, last.end):
        indent = _BLANK.match(text, text.rfind("\n", 0, last.start) + 1)
        new = _newline(text) + (indent.group() if indent else "") + field
        return Splice(start=rest.end(), end=rest.end(), new=new)
    after = text[last.end : last.end + 1]
    return Splice(start=last.end, end=last.end, new=f" {field}{' ' if after == '#' else ''}")


def put(document: Document, message: Message, name: str, value: str) -> Splice:
    """Set a field that holds one value: replace the value, or add the field."""
    if fields := message.named(name):
        return Splice(start=fields[0].value.start, end=fields[0].value.end, new=value)
    return add(document, message, f"{name}: {value}")


def remove(document: Document, field: Field) -> Splice:
    """Take a field away, and its lines where nothing else stands on them."""
    text = document.text
    line_start = text.rfind("\n", 0, field.start) + 1
    if not text[line_start : field.start].strip(" \t") and (
        rest := _LINE_END.match(text, field.end)
    ):
        return Splice(start=line_start, end=rest.end(), new="")
    # Two tokens that had the field between them must not become one.
    return Splice(start=field.start, end=field.end, new=" ")


def remove_items(document: Document, array: Array, dropped: Iterable[Element]) -> list[Splice]:
    """Take items out of a list, each with one comma and one blank; some item has to stay."""
    text = document.text
    gone = {item.start for item in dropped}
    splices: list[Splice] = []
    kept_before = False
    for index, item in enumerate(array.items):
        if item.start not in gone:
            kept_before = True
        elif kept_before:
            comma, start = array.commas[index - 1], item.start
            while text[start - 1] in " \t":
                start -= 1
            splices.append(Splice(start=comma, end=comma + 1, new=""))
            splices.append(Splice(start=start, end=item.end, new=""))
        else:
            comma = array.commas[index]
            blank = _BLANK.match(text, comma + 1)
            splices.append(Splice(start=item.start, end=item.end, new=""))
            splices.append(Splice(start=comma, end=blank.end() if blank else comma + 1, new=""))
    return splices


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
