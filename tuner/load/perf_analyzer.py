"""LoadGenerator on NVIDIA's perf_analyzer.

Why it is called as it is (measured with 2.51.0 over gRPC on 127.0.0.1, two cores):

- ``--async --max-threads 1``: one sending thread. With a thread per request in flight (the
  default) and 256 in flight on a model that does nothing, a request cost 80 instead of 37 µs of
  CPU, the rate was 9 600 instead of 14 600 per s and the p99 40 instead of 23 ms. In an open
  loop without ``--async`` the threads block: of 2000 requests per s that were asked for, 170
  were sent.
- Three time windows without a rule of stability. It keeps its load up to the end and ends within
  0.1 s. With ``--request-count`` the load runs dry towards the end, and it looks for its end only
  once a second.
- Where nobody knows how long a request takes, windows that count answers. A time window in which
  none comes ends the run with exit code 99 and nothing to show for it. One that counts looks for
  its end once a second, so time windows are the shorter way wherever they do.
- Its open loop does not export when a request was due. So it gets its schedule from us, with
  ``--request-intervals``, and latency is counted from the due time.
- One gRPC channel for all requests: a second channel, opened in the middle of a run, stalled a
  GPU's run for 3 s. No cost of sharing was seen, up to 256 in flight.
- At the first request that the server answers with an error it ends with exit code 99 and
  exports nothing. SIGINT makes it wait for ever or ends it without an export, too: a run can be
  killed, but not cut short.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from tuner.errors import ConfigurationRejected, TrialAborted
from tuner.load.arrivals import due_ns, intervals_us
from tuner.load.binary import Binary, find_binary
from tuner.load.export import read_export
from tuner.load.run_files import RunFiles, Written, keep_requests
from tuner.load.runner import Here
from tuner.measure.measurement import ClosedLoop, OpenLoop

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from tuner.load.runner import Elsewhere
    from tuner.measure.measurement import Workload
    from tuner.measure.trace import Trace
    from tuner.process import Completed

_DONE, _UNSTABLE = 0, 2
# The second is what it makes of server statistics that did not move during a window.
_NOTHING_ANSWERED = ("No valid requests recorded", "failed to find the requested model version")
# Three windows are the fewest after which it ends by itself with an export; of more, it exports
# only the last three.
_WINDOWS = 3
# So often each client is answered in the run after one in which nothing was answered.
_ROUNDS = 5
# It makes each window longer than it was told to, by a fifth.
_STRETCH = 1.2
# So many per cent may windows differ: any two do. Whether a run was steady is judged elsewhere.
_ANY = 1_000_000_000
_REQUEST_ERROR = re.compile(r"^Thread \[\d+\] had error: *(.+)$", re.MULTILINE)
# What gRPC says when nobody is there any more, as against an answer that is an error.
_NOBODY_THERE = re.compile(
    r"socket closed|failed to connect|connection (reset|refused)|broken pipe", re.IGNORECASE
)
_LAST_WORDS = 1500
_SHARED_CHANNEL = {"TRITON_CLIENT_GRPC_CHANNEL_MAX_SHARE_COUNT": "1024"}
# Its own start takes some 20 ms of CPU; over less than this the share would say nothing.
_SHORTEST_FOR_CPU_S = 0.5


@dataclass(frozen=True, kw_only=True)
class PerfAnalyzer:
    """Traffic from perf_analyzer, over gRPC.

    Attributes:
        study: the study's folder; marks its processes.
        cache: a folder of ours for links to its libraries.
        explicit: the program that the user chose, or None to look for one.
        input_data: a file in the form of ``--input-data``; None sends what it makes up itself.
        elsewhere: brings a program where this machine has none that runs.
    """

    study: Path
    cache: Path
    explicit: Path | None = None
    input_data: Path | None = None
    elsewhere: Elsewhere | None = None

    @cached_property
    def binary(self) -> Binary:
        """The program, looked for once.

        Raises:
            UsageError: the user's choice does not exist.
            MachineError: none runs.
        """
        return find_binary(
            self.explicit,
            cache=self.cache,
            here=Here(study=self.study),
            elsewhere=self.elsewhere,
        )

    def run(
        self,
        *,
        grpc: str,
        model: str,
        workload: Workload,
        duration_s: float,
        folder: Path,
        requests: int | None = None,
        deadline_s: float = 3600.0,
    ) -> Trace:
        """See LoadGenerator.

        Leaves, for a level such as ``c16``, ``requests_c16.parquet`` with the raw timestamps,
        ``perf_c16.csv`` with perf_analyzer's own figures and ``perf_c16.log``; a level's second
        run leaves ``…_c16_2…``, and so on.
        """
        ends_at = time.monotonic() + deadline_s
        while True:
            files = RunFiles.next_free(folder, workload)
            schedule_us = _schedule(workload.load, files, duration_s)
            argv = self._argv(
                grpc=grpc,
                model=model,
                workload=workload,
                windows=_by_clock(duration_s) if requests is None else _by_count(requests),
                files=files,
            )
            try:
                completed = self._send(argv, files, ends_at - time.monotonic())
                if completed is not None:
                    return _finish(_read(files), completed.cpu_s, schedule_us, files)
            finally:
                files.export.unlink(missing_ok=True)
                files.schedule.unlink(missing_ok=True)
            if requests is not None:
                raise TrialAborted(
                    "perf_analyzer counted answers and says that there were none. Its output is "
                    f"in {files.log}, the server's beside it."
                )
            requests = _ROUNDS * _in_flight(workload)

    def describe(self) -> Mapping[str, str]:
        """See LoadGenerator."""
        return {"perf_analyzer": str(self.binary)}

    def _argv(
        self, *, grpc: str, model: str, workload: Workload, windows: list[str], files: RunFiles
    ) -> list[str]:
        match workload.load:
            case ClosedLoop(concurrency=concurrency):
                load = [f"--concurrency-range={concurrency}"]
            case OpenLoop():
                load = [f"--request-intervals={files.schedule}"]
        data = [] if self.input_data is None else [f"--input-data={self.input_data.resolve()}"]
        return [
            *(str(self.binary.path), "-m", model, "-u", grpc, "-i", "grpc"),
            *("--async", "--max-threads=1", "-b", str(workload.request_batch)),
            *load,
            *data,
            *windows,
            f"--stability-percentage={_ANY}",
            *("--verbose-csv", "-f", str(files.report)),
            f"--profile-export-file={files.export}",
        ]

    def _send(self, argv: list[str], files: RunFiles, deadline_s: float) -> Completed | None:
        """Run it to its end; None where nothing was answered."""
        files.export.unlink(missing_ok=True)  # it refuses an existing file
        files.report.unlink(missing_ok=True)
        try:
            completed = self.binary.runner.run(
                argv,
                env=self.binary.environment() | _SHARED_CHANNEL,
                cwd=files.log.parent,
                log=files.log,
                deadline_s=deadline_s,
                done=Written(files),
            )
        except TimeoutError as error:
            raise TrialAborted(
                f"perf_analyzer was not done after {deadline_s:.0f} s and was ended; it tells "
                "nothing of an unfinished run. Ask for a shorter run or allow it more time."
            ) from error
        except OSError as error:
            raise TrialAborted(
                f"perf_analyzer could not be run in {files.log.parent}: {error}."
            ) from error
        if completed.returncode in {_DONE, _UNSTABLE}:
            return completed
        text = files.log.read_text(encoding="utf-8", errors="replace")
        if any(words in text for words in _NOTHING_ANSWERED):
            return None
        raise _failure(completed.returncode, text, files.log)


def _by_clock(duration_s: float) -> list[str]:
    window_ms = max(1, round(1000 * duration_s / _WINDOWS / _STRETCH))
    return [f"--measurement-interval={window_ms}", f"--max-trials={_WINDOWS}"]


def _by_count(requests: int) -> list[str]:
    each = max(1, math.ceil(requests / _WINDOWS))
    return [
        "--measurement-mode=count_windows",
        f"--measurement-request-count={each}",
        f"--max-trials={_WINDOWS}",
    ]


def _in_flight(workload: Workload) -> int:
    match workload.load:
        case ClosedLoop(concurrency=concurrency):
            return concurrency
        case OpenLoop():
            return 1


def _schedule(
    load: ClosedLoop | OpenLoop, files: RunFiles, duration_s: float
) -> NDArray[np.int64] | None:
    """Write when the requests of an open loop are due; return the gaps between them, in µs."""
    match load:
        case ClosedLoop():
            return None
        case OpenLoop(rate_per_s=rate):
            # More than is sent: it starts again at the end of the file. The n-th run of a level
            # meets the same arrivals in every trial, so that configurations are compared under
            # equal traffic, and the runs of one configuration are not all alike.
            requests = math.ceil(rate * (2 * duration_s + 1))
            gaps_us = intervals_us(load, requests=requests, seed=files.number)
            text = "\n".join(map(str, gaps_us.tolist()))
            try:
                files.schedule.write_text(f"{text}\n", encoding="ascii")
            except OSError as error:
                raise TrialAborted(f"Cannot write {files.schedule}: {error}.") from error
            return gaps_us


def _finish(
    trace: Trace, cpu_s: float | None, schedule_us: NDArray[np.int64] | None, files: RunFiles
) -> Trace:
    """Keep the raw timestamps and return them, in an open loop from when they were due."""
    left_ns = trace.sent_ns
    sent_ns = left_ns if schedule_us is None else due_ns(left_ns, schedule_us)
    whole = replace(trace, sent_ns=sent_ns, client_cpu_pct=_cpu_pct(cpu_s, trace))
    keep_requests(files.requests, left_ns=left_ns, trace=whole)
    return whole


def _read(files: RunFiles) -> Trace:
    try:
        return read_export(files.export)
    except (OSError, ValueError) as error:
        raise TrialAborted(
            f"perf_analyzer ended well, but what it exported cannot be used: {error}. "
            f"Its output is in {files.log}."
        ) from error


def _failure(returncode: int, text: str, log: Path) -> TrialAborted | ConfigurationRejected:
    """Say whose fault a failed run was."""
    last_words = text.strip()[-_LAST_WORDS:]
    errors = sorted(set(_REQUEST_ERROR.findall(text)))
    if errors and not any(_NOBODY_THERE.search(error) for error in errors):
        return ConfigurationRejected(
            f"The server answered a request under load with an error: {errors[0]}", last_words
        )
    return TrialAborted(
        f"perf_analyzer failed with exit code {returncode}. "
        f"Its whole output is in {log}; it ends with:\n{last_words}"
    )


def _cpu_pct(cpu_s: float | None, trace: Trace) -> float | None:
    """Processor use while requests were on their way; it idles before and after."""
    if cpu_s is None:
        return None
    busy_s = float(trace.done_ns.max() - trace.sent_ns.min()) / 1e9
    return 100 * cpu_s / busy_s if busy_s >= _SHORTEST_FOR_CPU_S else None
