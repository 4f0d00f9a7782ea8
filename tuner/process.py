"""The one place where programs that last are started and ended.

Every program started here leads a session of its own and carries two variables that all its
descendants inherit: ``TUNER_STUDY``, the absolute path of the study's folder, and ``TUNER_RUN``,
a token that names its owner, which is this process. The end of a process is the end of all that
carries its token, even of what left its process group; and what a killed owner left behind is
found again by the same two variables.

Linux only: it reads ``/proc``.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import TrialAborted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_STUDY = "TUNER_STUDY"
_RUN = "TUNER_RUN"
_PROC = Path("/proc")
_POLL_S = 0.005
_END_DEADLINE_S = 30.0
_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A program that ran to its end.

    Attributes:
        returncode: its exit code; negative for the number of the signal that ended it.
        cpu_s: user and system time of the program and of the children that it waited for; None
            where this machine does not show it.
        wall_s: from its start to its end.
    """

    returncode: int
    cpu_s: float | None
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running program.

    Attributes:
        pid: of its first process, which leads the session and the process group.
    """

    pid: int

    def returncode(self) -> int | None:
        """Tell how its first process ended, negative for a signal; None while it runs."""
        # WNOWAIT leaves the zombie in place: until the group is ended its number stays taken.
        seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if seen is None:
            return None
        return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status


def new_token(study: Path) -> str:
    """Make a name for one run: of this study, owned by this process, used once.

    Only letters, digits, dots and hyphens, so that it can begin a file's name.
    """
    return f"{_study_prefix(study)}{_identity(os.getpid())}-{next(_numbers)}"


def is_left_behind(name: str, study: Path) -> bool:
    """Tell whether a name begins with a token of this study whose owner is no longer alive."""
    owner = re.match(re.escape(_study_prefix(study)) + r"(\d+)\.(\d+)-\d", name)
    return owner is not None and _identity(int(owner[1])) != f"{owner[1]}.{owner[2]}"


def marks(study: Path, token: str) -> dict[str, str]:
    """Return the two variables by which what was started is found again."""
    return {_STUDY: str(study.resolve()), _RUN: token}


def inherited_environment() -> dict[str, str]:
    """Return this process's environment without what steers its Python interpreter.

    Another interpreter that inherits ``PYTHONPATH`` would import packages that are not its own.
    """
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process that was not reaped, with its ended children's.

    Raises:
        OSError: there is no such process.
    """
    user, system, children_user, children_system = map(int, _stat(pid)[11:15])
    return (user + system + children_user + children_system) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(
    argv: Sequence[str], *, token: str, study: Path, env: Mapping[str, str], log: Path, cwd: Path
) -> Iterator[Child]:
    """Run a program from entry to exit; afterwards nothing of it is left.

    It is ended by SIGKILL, all its processes at once: none of the programs that we start holds
    anything that it would have to save.

    Args:
        argv: the program, by its path, and its arguments.
        token: from `new_token`.
        study: the study's folder.
        env: its whole environment; the two variables of this module are added.
        log: a file to create, for what it writes to stdout and stderr.
        cwd: its working folder.

    Raises:
        OSError: it cannot be started or the log cannot be written.
        TrialAborted: a process of it does not end.
    """
    marked = {**env, **marks(study, token)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=marked,
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield Child(pid=process.pid)
    finally:
        try:
            _end_run(process.pid, token)
        except KeyboardInterrupt:  # an impatient second Ctrl-C leaves nothing behind either
            _end_run(process.pid, token)
            raise
        finally:
            process.wait()


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    deadline_s: float,
    study: Path,
    done: Callable[[], bool] | None = None,
) -> Completed:
    """Run a program to its end.

    Whatever happens, Ctrl-C too, nothing of it is left when this returns or raises.

    Args:
        argv: the program, by its path, and its arguments.
        env: its whole environment.
        cwd: its working folder.
        log: a file to create, for what it writes to stdout and stderr.
        deadline_s: seconds until it has to be done.
        study: the study's folder.
        done: tells that all that is wanted of it is there, though it still runs: it is ended
            then, and counts as ended well.

    Raises:
        TimeoutError: it was not done in time.
        OSError: it cannot be started or the log cannot be written.
        TrialAborted: a process of it does not end.
    """
    begun = time.monotonic()
    with started(argv, token=new_token(study), study=study, env=env, log=log, cwd=cwd) as child:
        while (returncode := child.returncode()) is None:
            if done is not None and done():
                returncode = 0
                break
            if time.monotonic() - begun > deadline_s:
                raise TimeoutError(f"{Path(argv[0]).name} was not done after {deadline_s:g} s.")
            time.sleep(_POLL_S)
        wall_s = time.monotonic() - begun
        used_s = cpu_s(child.pid)
    return Completed(returncode=returncode, cpu_s=used_s, wall_s=wall_s)


def end_marked(study: Path) -> int:
    """End what a killed owner of this study left running; return how many processes that were.

    Only processes of this user, marked with exactly this study, whose owner is gone. A study may
    have several workers: what a living one started is left alone.

    Raises:
        TrialAborted: one of them does not end.
    """
    mark = _entry(_STUDY, str(study.resolve()))
    spared = _with_ancestors(os.getpid())
    ended: set[int] = set()

    def left() -> list[int]:
        found = [
            process.pid
            for process in _processes()
            if process.pid not in spared
            and mark in process.environ
            and any(
                is_left_behind(os.fsdecode(entry.partition(b"=")[2]), study)
                for entry in process.environ
                if entry.startswith(_entry(_RUN, ""))
            )
        ]
        ended.update(found)
        return found

    _end(left)
    return len(ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    pid: int
    group: int
    environ: frozenset[bytes]


def _end_run(group: int, token: str) -> None:
    """End every process of a group or with a token. The leader may stay as a zombie."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    mark = _entry(_RUN, token)
    _end(lambda: [p.pid for p in _processes() if p.group == group or mark in p.environ])


def _end(left: Callable[[], list[int]]) -> None:
    deadline = time.monotonic() + _END_DEADLINE_S
    while pids := left():
        if time.monotonic() > deadline:
            raise TrialAborted(
                f"Process {pids[0]} does not end, {_END_DEADLINE_S:g} s after SIGKILL: "
                "a driver may hold it. Look at it with ps; a restart of the machine ends it."
            )
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def _processes() -> Iterator[_Process]:
    """Yield the living processes of this user; zombies are not living."""
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        # It may end, or become another user's, between any two of these lines.
        with suppress(OSError):
            if folder.stat().st_uid != os.geteuid():
                continue
            state, _, group, *_ = _stat(int(folder.name))
            environ = (folder / "environ").read_bytes().split(b"\0")
            if state not in {"Z", "X"}:
                yield _Process(pid=int(folder.name), group=int(group), environ=frozenset(environ))


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third one, the state, on; see proc(5)."""
    text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def _identity(pid: int) -> str | None:
    """Name a living process so that no later one of the same number has its name."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    start_ticks = fields[19]
    return None if fields[0] in {"Z", "X"} else f"{pid}.{start_ticks}"


def _with_ancestors(pid: int) -> frozenset[int]:
    line = [pid]
    while line[-1] > 1:
        line.append(int(_stat(line[-1])[1]))
    return frozenset(line)


def _entry(name: str, value: str) -> bytes:
    return os.fsencode(f"{name}={value}")


def _study_prefix(study: Path) -> str:
    digest = hashlib.sha256(os.fsencode(study.resolve())).hexdigest()[:8]
    return f"tuner-{digest}-"
