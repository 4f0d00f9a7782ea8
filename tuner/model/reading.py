"""Typed reading of single fields out of a parsed text, with errors that name the place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.model.pbtxt import Array, Message, Number, Text, Word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.model.pbtxt import Document, Element, Field

INT32_MAX = 2**31 - 1
UINT64_MAX = 2**64 - 1
_BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}


def single(document: Document, message: Message, name: str) -> Field | None:
    """The field of that name; None where there is none.

    Raises:
        ConfigSyntaxError: it is there more than once, or a list. Triton refuses both.
    """
    fields = message.named(name)
    if len(fields) > 1:
        raise document.error(fields[1].start, f"`{name}` is there a second time")
    if fields and isinstance(fields[0].value, Array):
        raise document.error(fields[0].value.start, f"`{name}` takes one value, not a list")
    return fields[0] if fields else None


def _value(document: Document, message: Message, name: str) -> Element | None:
    field = single(document, message, name)
    # `single` let no list through.
    return None if field is None or isinstance(field.value, Array) else field.value


def one_message(document: Document, message: Message, name: str) -> Message | None:
    """The message in a field; None where the field is absent."""
    value = _value(document, message, name)
    return None if value is None else as_message(document, value, name)


def one_text(document: Document, message: Message, name: str) -> str | None:
    """The string in a field; None where the field is absent."""
    match _value(document, message, name):
        case None:
            return None
        case Text(value=value):
            return value
        case other:
            raise document.error(other.start, f"`{name}` takes a string")


def one_int(
    document: Document, message: Message, name: str, *, most: int = INT32_MAX
) -> int | None:
    """The integer from 0 to ``most`` in a field; None where the field is absent."""
    value = _value(document, message, name)
    return None if value is None else as_int(document, value, name, most=most)


def one_bool(document: Document, message: Message, name: str) -> bool:
    """The flag in a field; False, its default, where the field is absent."""
    match _value(document, message, name):
        case None:
            return False
        case Word(value=word) if word in _BOOLS:
            return _BOOLS[word]
        case Number(value=int(number)) if number in {0, 1}:
            return bool(number)
        case other:
            raise document.error(other.start, f"`{name}` takes true or false")


def one_enum(
    document: Document, message: Message, name: str, values: tuple[str, ...]
) -> str | None:
    """The name of the enum's value in a field; None where the field is absent.

    Args:
        document: the text.
        message: where the field is looked for.
        name: of the field.
        values: the enum's names by number; a number stands for its name.
    """
    match _value(document, message, name):
        case None:
            return None
        case Word(value=word) if word in values:
            return word
        case Number(value=int(number)) if 0 <= number < len(values):
            return values[number]
        case other:
            raise document.error(other.start, f"`{name}` takes one of {', '.join(values)}")


def as_message(document: Document, element: Element, name: str) -> Message:
    """The element as a message, or an error that says that the field takes one."""
    if not isinstance(element, Message):
        raise document.error(element.start, f"`{name}` takes a message: {name} {{ … }}")
    return element


def as_int(
    document: Document, element: Element, name: str, *, least: int = 0, most: int = INT32_MAX
) -> int:
    """The element as an integer within bounds."""
    match element:
        case Number(value=int(value)) if least <= value <= most:
            return value
        case other:
            raise document.error(other.start, f"`{name}` takes an integer from {least} to {most}")


def messages(document: Document, message: Message, name: str) -> Iterable[Message]:
    """The messages of a repeated field, in the order of the source."""
    return (as_message(document, element, name) for element in message.elements(name))
