"""What a Triton log says about why a server did not come up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_EVIDENCE_LINES = 40
_FAILED_TO_LOAD = re.compile(r'"failed to load \'(?P<model>.*?)\' version \d+: (?P<why>.*)"$')
_QUOTED = re.compile(r'^E\d{4} [^\]]*\] "(?P<text>.*)"$')
_PROTOBUF = re.compile(r"^\[libprotobuf ERROR [^\]]*\] (?P<text>.*)$")
_FRAME = re.compile(r"^\s+(?P<file>/.*)\((?P<line>\d+)\): \S")
# Written on every start where there is no GPU; not why anything failed.
_HARMLESS = "CudaDriverHelper has not been initialized."


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a model did not load.

    Attributes:
        reason: in one phrase, without a full stop.
        evidence: the traceback, where there is one, and the end of the log.
    """

    reason: str
    evidence: str


def explain(log: str, model: str) -> Failure:
    """Read a server's log for why a model did not load."""
    # Tables of repositories, backends and options fill a page each and say nothing here.
    lines = [line for line in log.splitlines() if line.strip() and line[0] not in "+|"]
    end = "\n".join(lines[-_EVIDENCE_LINES:])
    for line in reversed(lines):
        said = _FAILED_TO_LOAD.search(line)
        if said is not None and said["model"] == model:
            text = said["why"].replace("\\n", "\n").replace("\\t", "\t").strip()
            return Failure(reason=_first_line(text), evidence=f"{text}\n\n{end}")
    return Failure(reason=_complaints(lines), evidence=end)


def failed_model(log: str, models: Sequence[str]) -> str:
    """Return which of these models did not load; all of them where the log does not tell."""
    failed = _failed_models(log)
    return next((model for model in models if model in failed), ", ".join(models))


def blames(log: str, model: str) -> bool:
    """Tell whether the log says that this model did not load."""
    return model in _failed_models(log)


def _failed_models(log: str) -> set[str]:
    said = (_FAILED_TO_LOAD.search(line) for line in log.splitlines())
    return {match["model"] for match in said if match is not None}


def is_port_taken(log: str) -> bool:
    """Tell whether the server ended because another process listens on one of its ports."""
    return re.search(r"failed to start \w+ service: .* already in use", log) is not None


def _first_line(text: str) -> str:
    """``Internal: RuntimeError: boom … At: …`` → ``RuntimeError: boom (model.py, line 5)``."""
    reason = text.splitlines()[0].removeprefix("Internal: ").rstrip(" .;")
    for line in text.splitlines():
        frame = _FRAME.match(line)
        if frame is not None:
            return f"{reason} ({frame['file'].rpartition('/')[2]}, line {frame['line']})"
    return reason


def _complaints(lines: list[str]) -> str:
    said = [
        match["text"].rstrip(" .")
        for line in lines
        if (match := _QUOTED.match(line) or _PROTOBUF.match(line)) is not None
        and match["text"] != _HARMLESS
    ]
    if said:
        return "; ".join(said[-2:])
    return lines[-1].strip() if lines else "the log is empty"
