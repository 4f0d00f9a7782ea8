"""Read the timestamps out of perf_analyzer's profile export."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from tuner.measure.trace import Trace

if TYPE_CHECKING:
    from pathlib import Path

# A request is {"timestamp":N,"request_inputs":{…},"response_timestamps":[N,…],…}. The file also
# holds all inputs and outputs: it is large, and not even UTF-8 when requests have several rows.
# So it is searched, not parsed. Inside a JSON string these patterns cannot occur, as its quotes
# are escaped there; an input that is itself called `timestamp` is what the lookbehind is for.
_SENT = re.compile(rb'(?<!_inputs":)\{"timestamp":(\d+)')
_DONE = re.compile(rb'"response_timestamps":\[([\d,]*)\]')


def read_export(path: Path) -> Trace:
    """Return the requests of an export, in the order of sending.

    A request without a response counts as failed when it was sent. ``client_cpu_pct`` is None.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no requests, or is not laid out as expected.
    """
    content = path.read_bytes()
    sent_texts: list[bytes] = _SENT.findall(content)
    done_texts: list[bytes] = _DONE.findall(content)
    if not sent_texts or len(sent_texts) != len(done_texts):
        raise ValueError(
            f"{path} holds {len(sent_texts)} send times and {len(done_texts)} response times"
        )
    sent_ns = np.array(sent_texts, dtype=np.int64)
    failed = np.array([not text for text in done_texts], dtype=np.bool_)
    # A streaming model answers several times; the request is done with the last answer.
    last = [
        text.rpartition(b",")[2] or sent for text, sent in zip(done_texts, sent_texts, strict=True)
    ]
    done_ns = np.array(last, dtype=np.int64)
    order = np.argsort(sent_ns, kind="stable")
    return Trace(sent_ns=sent_ns[order], done_ns=done_ns[order], failed=failed[order])
