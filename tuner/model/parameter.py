"""One of the backend's own settings (``parameters``) as an edit of the user's text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tuner.model import reading, splice

if TYPE_CHECKING:
    from tuner.model.config import ModelConfig
    from tuner.model.splice import Splice

_FIELD: Final = "parameters"
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\0": r"\000"})


def edit_parameter(config: ModelConfig, name: str, value: str) -> list[Splice]:
    """Set the value of one key; of equal keys the last, which is the one that counts."""
    if config.parameters.get(name) == value:
        return []
    document = config.document
    text = quoted(value)
    for entry in reversed(list(reading.messages(document, document.root, _FIELD))):
        if (reading.one_text(document, entry, "key") or "") != name:
            continue
        holder = reading.one_message(document, entry, "value")
        if holder is None:
            return [splice.add(document, entry, f"value: {{ string_value: {text} }}")]
        return [splice.put(document, holder, "string_value", text)]
    entry_text = f"{_FIELD} {{ key: {quoted(name)} value: {{ string_value: {text} }} }}"
    return [splice.add(document, document.root, entry_text)]


def quoted(text: str) -> str:
    """A string as it is written in protobuf's text format."""
    return f'"{text.translate(_ESCAPES)}"'
