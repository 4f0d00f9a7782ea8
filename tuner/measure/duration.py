"""Lengths of time in words: on the terminal, on the page, and as the reason why a study ended."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Such as ``0.8 s``, ``48 s``, ``4 min 10 s`` or ``1 h 12 min``."""
    if round(seconds, 1) < 10:  # noqa: PLR2004 - two digits are enough for a glance
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
