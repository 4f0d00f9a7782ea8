"""A short hash of what a configuration means."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from tuner.model.pbtxt import Message, Number, Text, Word

if TYPE_CHECKING:
    from tuner.model.parts import InstanceGroup
    from tuner.model.pbtxt import Document, Element


def fingerprint(document: Document, groups: tuple[InstanceGroup, ...]) -> str:
    """16 hex digits that are equal for equal meanings.

    Args:
        document: the text.
        groups: its instance groups, in the order of the text.
    """
    form = _fields(document.root)
    if form.get("max_batch_size") == [0]:
        del form["max_batch_size"]
    for batcher in form.get("dynamic_batching", []):
        if isinstance(batcher, dict) and batcher.get("max_queue_delay_microseconds") == [0]:
            del batcher["max_queue_delay_microseconds"]
    described = zip(form.get("instance_group", []), groups, strict=True)
    form["instance_group"] = [_group(raw, group) for raw, group in described]
    if form["instance_group"] in ([], [{}]):
        # Without any group Triton makes one, all of whose fields have their defaults.
        del form["instance_group"]
    if "parameters" in form:
        form["parameters"].sort(key=json.dumps)  # a map, which has no order
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()[:16]


def _fields(message: Message) -> dict[str, list[object]]:
    """Every field as a list of its values; a field that is an empty list says nothing."""
    # Sorted, so that equal messages are written equally by json.dumps.
    names = sorted({field.name for field in message.fields})
    forms = {name: [_form(element) for element in message.elements(name)] for name in names}
    return {name: form for name, form in forms.items() if form}


def _form(element: Element) -> object:
    """What JSON can say of a value; a word is not the string with the same letters."""
    match element:
        case Message():
            return _fields(element)
        case Text(value=text):
            return ["text", text]
        case Word(value=word):
            return ["word", word]
        case Number(value=float(value)) if value.is_integer():
            return int(value)
        case Number(value=value):
            return value


def _group(raw: object, group: InstanceGroup) -> object:
    if not isinstance(raw, dict):
        return raw
    form = {name: value for name, value in raw.items() if name not in {"count", "kind"}}
    if group.count != group.default_count:
        form["count"] = group.count
    if group.kind != "KIND_AUTO":
        form["kind"] = group.kind
    return form
