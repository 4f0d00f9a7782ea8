from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import ConfigSyntaxError
from tuner.model.pbtxt import Array, Document, Message, Number, Text, Word

PATH = Path("config.pbtxt")

_TOKENS = (
    *"{}<>[]:,;#\"'\\-.\n\t ",
    "\r\n",
    *("name", "max_batch_size", "dims", "é", "\0", "\ufeff", "KIND_CPU", "inf", "true"),
    *("0", "017", "08", "0x1F", "0x", "1.5e3", "1.5.2", "4f", "1e", "99999999999999999999999999"),
    *('"a"', "'b\\'c'", '"\\xe2\\x82\\xac"', '"\\xff"', '"\\q"', '"\\U00110000"'),
    *("a: 1 ", "b { c: 2 } ", "d: [ 1, 2 ] ", "e [ { f: 1 }, < > ] ", "g <> "),
)


def _parse(text: str) -> Document | ConfigSyntaxError:
    try:
        return Document.parse(text, path=PATH)
    except ConfigSyntaxError as error:
        return error


def _root(text: str) -> Message:
    return Document.parse(text, path=PATH).root


def _value(text: str) -> object:
    match _root(f"field: {text}").fields[0].value:
        case Text(value=value) | Word(value=value) | Number(value=value):
            return value
        case other:
            return other


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from(_TOKENS)).map("".join))
def test_any_text_parses_and_stays_as_it_was_or_is_a_syntax_error_in_it(text: str) -> None:
    parsed = _parse(text)
    if isinstance(parsed, Document):
        assert parsed.text == text
        for field in parsed.root.fields:
            assert text[field.start :].startswith(field.name)
    else:
        lines = text.split("\n")
        assert 1 <= parsed.line <= len(lines)
        assert 1 <= parsed.column <= len(lines[parsed.line - 1]) + 1


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("12", 12),
        ("-12", -12),
        ("- 12", -12),
        ("0x1F", 31),
        ("017", 15),
        ("0", 0),
        ("18446744073709551615", 2**64 - 1),
        ("1.5", 1.5),
        (".5", 0.5),
        ("2.f", 2.0),
        ("1e3", 1000.0),
        ("-inf", float("-inf")),
        ("KIND_CPU", "KIND_CPU"),
        ("true", "true"),
        ('"a#b"', "a#b"),
        ("'it is \"a\"'", 'it is "a"'),
        (r"'it\'s'", "it's"),
        (r'"\x41\101\n\u00e9\?\\"', "AA\né?\\"),
        (r'"\xe2\x82\xac"', "€"),
        ("'a' \"b\" # comment\n  'c'", "abc"),
    ],
)
def test_a_value_is_read_as_protobuf_reads_it(written: str, meant: object) -> None:
    assert _value(written) == meant


@pytest.mark.parametrize(
    "text",
    ["a { b: 1 }", "a: { b: 1 }", "a < b: 1 >", "a: <b: 1;>", "a{b:1,}", "a#\n{ # x }\nb :1 };"],
)
def test_every_form_of_a_message_is_the_same_message(text: str) -> None:
    (field,) = _root(text).fields
    assert isinstance(field.value, Message)
    (inner,) = field.value.fields
    assert inner.name == "b"
    assert isinstance(inner.value, Number)


def test_a_repeated_field_is_the_sum_of_its_single_values_and_lists() -> None:
    elements = _root("a: 1 a: [ 2, 3 ] b: 9 a: [] a: 4").elements("a")
    assert [e.value for e in elements if isinstance(e, Number)] == [1, 2, 3, 4]


def test_a_list_of_messages_needs_no_colon() -> None:
    (field,) = _root("a [ { b: 1 }, < > ]").fields
    assert isinstance(field.value, Array)
    assert len(field.value.items) == 2


@pytest.mark.parametrize(
    ("text", "line", "column", "part"),
    [
        ("a: 1\nb: }", 2, 4, "expected a value, found '}'"),
        ("a {\n  b: 1\n", 3, 1, "expected `}`, found the end of the file"),
        ("a { b: 1 >", 1, 10, "the name of a field, found '>'"),
        ("a 1", 1, 3, "expected `:` or `{` after `a`"),
        ("dims [ 1 ]", 1, 8, "needs a `:`"),
        ("a: [ 1, 2 ", 1, 11, "expected `,` or `]`"),
        ("a: [ 1, {} ]", 1, 9, "either messages or values"),
        ("a: [ 1, ]", 1, 9, "expected a value"),
        ('a: "x\ny"', 1, 4, "not closed on its line"),
        ('a: "\\q"', 1, 4, "escape"),
        ('a: "\\xff"', 1, 4, "not UTF-8"),
        ("a: 08", 1, 4, "`08`"),
        ("a: 1b: 2", 1, 4, "`1`"),
        ("a: 1.2.3", 1, 4, "`1.2`"),
        ("a: -B", 1, 5, "expected a number after `-`"),
        ("a: 1;;", 1, 6, "the name of a field"),
        ("\ufeffa: 1", 1, 1, "byte order mark"),
        ("a: 1 # \0", 1, 8, "NUL"),
        ("a" + "{a" * 100, 1, 130, "64 deep"),
    ],
)
def test_an_error_names_the_place_and_what_is_wrong(
    text: str, line: int, column: int, part: str
) -> None:
    with pytest.raises(ConfigSyntaxError) as caught:
        _root(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert part in str(caught.value)
    assert str(caught.value).startswith(f"config.pbtxt:{line}:{column}: ")
