"""Protobuf text format, read without a schema and without losing a byte.

The grammar is the one that Triton's parser (protobuf's C++ ``TextFormat``) accepts in a
config.pbtxt: https://protobuf.dev/reference/protobuf/textformat-spec/. A parsed node knows where
it stands in the source; :mod:`tuner.model.splice` edits by these places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tuner.errors import ConfigSyntaxError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DEPTH = 64
"""Deepest nesting that is read; a model configuration needs fewer than ten."""

_BLANK = re.compile(r"(?:[ \t\n\r\v\f]|#[^\n]*)*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]*\.?[0-9]*(?:[eE][+-]?[0-9]*)?[fF]?")
_GLUED = re.compile(r"[A-Za-z_.]")
_HEX = re.compile(r"0[xX][0-9a-fA-F]+")
_OCTAL = re.compile(r"0[0-7]+")
_DECIMAL = re.compile(r"0|[1-9][0-9]*")
_FLOAT = re.compile(r"(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?")
_INTEGER_CHARACTERS = 23
"""Of the longest 64-bit number, which is octal. What is longer can only be floating-point."""
_QUOTED = {
    quote: re.compile(rf"{quote}[^{quote}\\\n]*(?:\\[^\n][^{quote}\\\n]*)*{quote}")
    for quote in "\"'"
}
_ESCAPE = re.compile(
    rb"""\\([abfnrtv\\?'"]|[0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}"""
    rb"""|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})?"""
)
_PLAIN_ESCAPES = dict(zip(b"abfnrtv", b"\a\b\f\n\r\t\v", strict=True))
_CLOSER = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A string; adjacent ones are joined, escapes resolved. Offsets count characters."""

    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """An integer or a floating-point number."""

    start: int
    end: int
    value: int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """An enum's value, or ``true`` and ``false``."""

    start: int
    end: int
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What stands between braces; for the whole file, what stands in it.

    Attributes:
        start: offset of the opening brace.
        end: offset after the closing brace.
        body_start: offset after the opening brace.
        fields: in the order of the source.
    """

    start: int
    end: int
    body_start: int
    fields: tuple[Field, ...]

    def named(self, name: str) -> tuple[Field, ...]:
        """The fields of that name, in the order of the source."""
        return tuple(field for field in self.fields if field.name == name)

    def elements(self, name: str) -> Iterator[Element]:
        """The values of a repeated field, however it is written: ``a: 1 a: [2, 3]``."""
        for field in self.named(name):
            match field.value:
                case Array(items=items):
                    yield from items
                case element:
                    yield element


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """A list in square brackets. ``commas[i]`` is the offset of the comma after item i."""

    start: int
    end: int
    items: tuple[Element, ...]
    commas: tuple[int, ...]


Element: TypeAlias = Text | Number | Word | Message
Value: TypeAlias = Element | Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """``name: value`` with the ``,`` or ``;`` after it, if there is one."""

    start: int
    end: int
    name: str
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text that parsed. ``text`` is the source, untouched."""

    path: Path
    text: str
    root: Message

    @classmethod
    def parse(cls, text: str, *, path: Path) -> Document:
        """Parse a text.

        Args:
            text: the source.
            path: where it is from, for messages.

        Raises:
            ConfigSyntaxError: with the place and what was expected there.
        """
        return cls(path=path, text=text, root=_Parser(text, path).document())

    def error(self, offset: int, what: str) -> ConfigSyntaxError:
        """Make the error for a place in the text."""
        return _error(self.path, self.text, offset, what)


def _error(path: Path, text: str, offset: int, what: str) -> ConfigSyntaxError:
    line_start = text.rfind("\n", 0, offset) + 1
    return ConfigSyntaxError(path, text.count("\n", 0, offset) + 1, offset - line_start + 1, what)


class _Parser:
    """Recursive descent over one text; ``at`` is the offset of the next token."""

    def __init__(self, text: str, path: Path) -> None:
        self.text = text
        self.path = path
        self.at = 0

    def document(self) -> Message:
        if (nul := self.text.find("\0")) >= 0:
            raise self.error("a NUL character cannot be in a configuration", nul)
        if self.text.startswith("\ufeff"):
            raise self.error("Triton refuses a byte order mark; save the file without one", 0)
        self.skip_blank()
        fields = self.fields(closer="", depth=0)
        return Message(start=0, end=len(self.text), body_start=0, fields=fields)

    def error(self, what: str, offset: int | None = None) -> ConfigSyntaxError:
        return _error(self.path, self.text, self.at if offset is None else offset, what)

    def expected(self, what: str) -> ConfigSyntaxError:
        found = repr(self.text[self.at]) if self.at < len(self.text) else "the end of the file"
        return self.error(f"expected {what}, found {found}")

    def skip_blank(self) -> None:
        if blank := _BLANK.match(self.text, self.at):
            self.at = blank.end()

    def looking_at(self, characters: str) -> bool:
        return self.at < len(self.text) and self.text[self.at] in characters

    def take(self, characters: str) -> str | None:
        """Consume one of these characters and the blank after it."""
        if not self.looking_at(characters):
            return None
        taken = self.text[self.at]
        self.at += 1
        self.skip_blank()
        return taken

    def take_word(self) -> str | None:
        if word := _WORD.match(self.text, self.at):
            self.at = word.end()
            return word.group()
        return None

    def fields(self, *, closer: str, depth: int) -> tuple[Field, ...]:
        """Read fields up to the closing brace (not consumed), or to the end where it is empty."""
        found: list[Field] = []
        while self.at < len(self.text) and not (closer and self.looking_at(closer)):
            found.append(self.field(depth))
        if closer and self.at == len(self.text):
            raise self.expected(f"`{closer}`")
        return tuple(found)

    def field(self, depth: int) -> Field:
        start = self.at
        name = self.take_word()
        if name is None:
            raise self.expected("the name of a field")
        self.skip_blank()
        colon = self.take(":") is not None
        value: Value
        if self.looking_at("["):
            value = self.array(depth, scalars=colon)
        elif self.looking_at("{<"):
            value = self.message(depth)
        elif colon:
            value = self.scalar()
        else:
            raise self.expected(f"`:` or `{{` after `{name}`")
        end = value.end
        self.skip_blank()
        if self.looking_at(",;"):
            end = self.at + 1
            self.take(",;")
        return Field(start=start, end=end, name=name, value=value)

    def message(self, depth: int) -> Message:
        if depth >= _DEPTH:
            raise self.error(f"nested more than {_DEPTH} deep")
        start = self.at
        closer = _CLOSER[self.text[start]]
        self.at += 1
        self.skip_blank()
        fields = self.fields(closer=closer, depth=depth + 1)
        self.at += 1
        return Message(start=start, end=self.at, body_start=start + 1, fields=fields)

    def array(self, depth: int, *, scalars: bool) -> Array:
        start = self.at
        items: list[Element] = []
        commas: list[int] = []
        self.take("[")
        while not (self.looking_at("]") and not items):
            items.append(self.element(depth, scalars=scalars))
            if type(items[-1]) is not type(items[0]) and Message in map(type, items):
                raise self.error("a list holds either messages or values", items[-1].start)
            self.skip_blank()
            if not self.looking_at(",]"):
                raise self.expected("`,` or `]` in a list")
            if self.looking_at("]"):
                break
            commas.append(self.at)
            self.take(",")
        self.at += 1
        return Array(start=start, end=self.at, items=tuple(items), commas=tuple(commas))

    def element(self, depth: int, *, scalars: bool) -> Element:
        if self.looking_at("{<"):
            return self.message(depth)
        if not scalars:
            raise self.expected("`{` (a list of values needs a `:` before it)")
        return self.scalar()

    def scalar(self) -> Element:
        start = self.at
        if self.looking_at("\"'"):
            return self.string()
        negative = self.take("-") is not None
        if self.looking_at(".0123456789"):
            value = self.number()
            return Number(start=start, end=self.at, value=-value if negative else value)
        word_start = self.at
        word = self.take_word()
        if word is None:
            raise self.expected("a value")
        if not negative:
            return Word(start=start, end=self.at, value=word)
        if word.lower() not in {"inf", "infinity", "nan"}:
            raise self.error(f"expected a number after `-`, found `{word}`", word_start)
        return Number(start=start, end=self.at, value=-float(word))

    def number(self) -> int | float:
        start = self.at
        raw = match.group() if (match := _NUMBER.match(self.text, start)) else ""
        self.at = start + len(raw)
        if not _GLUED.match(self.text, self.at):
            if _HEX.fullmatch(raw) and len(raw) <= _INTEGER_CHARACTERS:
                return int(raw, 16)
            if _OCTAL.fullmatch(raw) and len(raw) <= _INTEGER_CHARACTERS:
                return int(raw, 8)
            if _DECIMAL.fullmatch(raw) and len(raw) <= _INTEGER_CHARACTERS:
                return int(raw)
            if _FLOAT.fullmatch(raw):
                return float(raw.rstrip("fF"))
        raise self.error(f"`{raw[:40]}` does not make a number with what follows", start)

    def string(self) -> Text:
        start = end = self.at
        parts: list[bytes] = []
        while self.looking_at("\"'"):
            if (quoted := _QUOTED[self.text[self.at]].match(self.text, self.at)) is None:
                raise self.error("this string is not closed on its line")
            parts.append(self.unescape(quoted.group()[1:-1]))
            end = self.at = quoted.end()
            self.skip_blank()
        # What follows is for the caller to skip: the field ends where the last quote does.
        self.at = end
        try:
            return Text(start=start, end=end, value=b"".join(parts).decode("utf-8"))
        except UnicodeDecodeError:
            raise self.error("the bytes of this string are not UTF-8", start) from None

    def unescape(self, body: str) -> bytes:
        """Resolve escapes. Bytes, because a hex or an octal escape stands for one byte."""

        def resolve(match: re.Match[bytes]) -> bytes:
            code: bytes | None = match[1]
            if code is None:
                raise self.error("this string holds an escape that does not exist")
            if code[0] in b"xX":
                return bytes([int(code[1:], 16)])
            if code[0] in b"uU":
                return chr(int(code[1:], 16)).encode("utf-8", "surrogatepass")
            if code.isdigit():
                return bytes([int(code, 8) & 0xFF])
            return bytes([_PLAIN_ESCAPES.get(code[0], code[0])])

        return _ESCAPE.sub(resolve, body.encode("utf-8", "surrogatepass"))
