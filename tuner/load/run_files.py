"""The files of one run of perf_analyzer."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.errors import TrialAborted
from tuner.measure.measurement import ClosedLoop, OpenLoop

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tuner.measure.measurement import Workload
    from tuner.measure.trace import Trace

_QUIET_S = 0.3
_TAIL = 1000
_LAST_FIELD = b'"service_kind"'
"""Behind the requests in an export of 2.51; without it a run is waited for to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Where one run leaves what.

    Attributes:
        requests: raw timestamps; kept as evidence, like the next two.
        report: perf_analyzer's own figures.
        log: what it wrote to stdout and stderr.
        export: what it exports; read and removed.
        schedule: when the requests of an open loop are due; removed.
        number: of the run, from 1 for the first one of its level in the folder.
    """

    requests: Path
    report: Path
    log: Path
    export: Path
    schedule: Path
    number: int

    @classmethod
    def next_free(cls, folder: Path, workload: Workload) -> RunFiles:
        """Name the files of the next run of a level."""
        match workload.load:
            case ClosedLoop(concurrency=concurrency):
                level = f"c{concurrency}"
            case OpenLoop(rate_per_s=rate):
                level = f"r{rate:g}"
        if workload.request_batch > 1:
            level += f"_b{workload.request_batch}"
        number = 1 + sum(
            1 for log in folder.glob(f"perf_{level}*.log") if _is_run_of(level, log.stem)
        )
        name = level if number == 1 else f"{level}_{number}"
        root = folder.resolve()
        return cls(
            requests=root / f"requests_{name}.parquet",
            report=root / f"perf_{name}.csv",
            log=root / f"perf_{name}.log",
            export=root / f"export_{name}.json",
            schedule=root / f"schedule_{name}.txt",
            number=number,
        )


class Written:
    """Whether a run has written all that is read of it.

    perf_analyzer then waits for the answers that are still on their way, and throws them away.
    One that has none to wait for ends by itself meanwhile.
    """

    def __init__(self, files: RunFiles) -> None:
        self._files = files
        self._seen: tuple[int, ...] = ()
        self._since_s = 0.0

    def __call__(self) -> bool:
        """Tell whether both files are there and have not grown for a while."""
        try:
            sizes = tuple(f.stat().st_size for f in (self._files.report, self._files.export))
        except FileNotFoundError:
            return False
        now_s = time.monotonic()
        if sizes != self._seen:
            self._seen, self._since_s = sizes, now_s
        return all(sizes) and now_s - self._since_s > _QUIET_S and self._is_whole()

    def _is_whole(self) -> bool:
        with self._files.export.open("rb") as export:
            export.seek(max(0, self._seen[1] - _TAIL), os.SEEK_SET)
            tail = export.read()
        return _LAST_FIELD in tail and tail.endswith(b"}")


def _is_run_of(level: str, stem: str) -> bool:
    return re.fullmatch(rf"perf_{re.escape(level)}(_\d+)?", stem) is not None


def keep_requests(path: Path, *, left_ns: NDArray[np.int64], trace: Trace) -> None:
    """Write the timestamps: ``sent_ns`` is when a request was due, ``left_ns`` when it left.

    Raises:
        TrialAborted: the file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(
        {
            "sent_ns": trace.sent_ns,
            "left_ns": left_ns,
            "done_ns": trace.done_ns,
            "failed": trace.failed,
        }
    )
    try:
        parquet.write_table(table, path)
    except OSError as error:
        raise TrialAborted(f"Cannot write the requests to {path}: {error}.") from error
