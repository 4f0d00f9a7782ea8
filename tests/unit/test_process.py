from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuner.process import (
    end_marked,
    inherited_environment,
    is_left_behind,
    new_token,
    run,
    started,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ESCAPING_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
print(child.pid, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "study").mkdir()
    return tmp_path


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def run_here(folder: Path, argv: list[str], *, deadline_s: float = 60.0) -> tuple[int, str]:
    log = folder / "log"
    done = run(
        argv,
        env=inherited_environment(),
        cwd=folder,
        log=log,
        deadline_s=deadline_s,
        study=folder / "study",
    )
    return done.returncode, log.read_text(encoding="utf-8")


def test_a_program_that_ends_tells_its_code_and_leaves_its_words(folder: Path) -> None:
    code = (
        "import sys; print('out'); sys.stdout.flush(); print('err', file=sys.stderr); sys.exit(3)"
    )
    assert run_here(folder, python(code)) == (3, "out\nerr\n")


def test_a_program_that_a_signal_ends_tells_its_negative_number(folder: Path) -> None:
    assert run_here(folder, ["/bin/sh", "-c", "kill -15 $$"])[0] == -15


def test_a_program_that_has_done_all_that_is_wanted_is_ended_and_ended_well(folder: Path) -> None:
    code = "import pathlib, time; pathlib.Path('result').touch(); time.sleep(600)"
    ended = run(
        python(code),
        env=inherited_environment(),
        cwd=folder,
        log=folder / "log",
        deadline_s=60.0,
        study=folder / "study",
        done=(folder / "result").exists,
    )
    assert ended.returncode == 0
    assert ended.wall_s < 60.0


def test_the_cpu_time_is_that_of_the_program_not_of_the_wall_clock(folder: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass\ntime.sleep(0.3)"
    done = run(
        python(busy),
        env=inherited_environment(),
        cwd=folder,
        log=folder / "log",
        deadline_s=60,
        study=folder / "study",
    )
    assert done.cpu_s is not None
    assert 0.19 <= done.cpu_s < done.wall_s


def test_a_program_that_passes_its_deadline_is_ended(folder: Path) -> None:
    with pytest.raises(TimeoutError, match=r"not done after 0\.2 s"):
        run_here(folder, python("import os, time; time.sleep(600)"), deadline_s=0.2)


def test_a_program_that_does_not_exist_is_an_os_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run_here(folder, ["/no/such/program"])


def test_what_left_the_process_group_is_ended_too(folder: Path) -> None:
    _, said = run_here(folder, python(ESCAPING_CHILD))
    assert not is_alive(int(said))


def test_an_exception_in_the_body_ends_the_program(folder: Path) -> None:
    study = folder / "study"
    program = started(
        python("import time; time.sleep(600)"),
        token=new_token(study),
        study=study,
        env=inherited_environment(),
        log=folder / "log",
        cwd=folder,
    )
    with pytest.raises(KeyboardInterrupt), program as child:
        raise KeyboardInterrupt
    assert not is_alive(child.pid)


def test_programs_of_several_threads_do_not_end_each_other(folder: Path) -> None:
    codes: list[int] = []

    def work(number: int) -> None:
        own = folder / str(number)
        (own / "study").mkdir(parents=True)
        codes.append(run_here(own, python(f"import sys; sys.exit({number})"))[0])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == list(range(6))


def test_the_interpreters_own_variables_are_not_handed_on() -> None:
    env = inherited_environment()
    assert env["PATH"] == os.environ["PATH"]
    assert not [name for name in env if name.startswith("PYTHON")]


def test_a_token_of_a_living_owner_is_not_left_behind(tmp_path: Path) -> None:
    assert not is_left_behind(new_token(tmp_path), tmp_path)


def token_of_a_dead_owner(study: Path) -> str:
    code = (
        "import sys; from pathlib import Path; from tuner.process import new_token;"
        "print(new_token(Path(sys.argv[1])))"
    )
    said = subprocess.run([*python(code), study], capture_output=True, check=True, text=True)
    return said.stdout.strip()


def test_a_token_of_a_dead_owner_is_left_behind_by_its_own_study_only(tmp_path: Path) -> None:
    token = token_of_a_dead_owner(tmp_path / "one")
    assert is_left_behind(token, tmp_path / "one")
    assert is_left_behind(f"{token}-file", tmp_path / "one")
    assert not is_left_behind(token, tmp_path / "two")


@pytest.mark.parametrize(("marked_with", "ended"), [("study", 1), ("another", 0)])
def test_cleaning_ends_only_what_is_marked_with_exactly_this_study(
    tmp_path: Path, marked_with: str, ended: int
) -> None:
    study = tmp_path / "study"
    env = {"TUNER_RUN": token_of_a_dead_owner(study), "TUNER_STUDY": str(tmp_path / marked_with)}
    with subprocess.Popen(["/bin/sleep", "600"], env=env) as process:
        try:
            # Popen returns at its exec, a moment before the kernel shows the new environment.
            assert eventually(lambda: bool(Path(f"/proc/{process.pid}/environ").read_bytes()))
            assert end_marked(study) == ended
            assert is_alive(process.pid) == (ended == 0)
        finally:
            process.kill()


def test_tokens_are_used_once(tmp_path: Path) -> None:
    assert new_token(tmp_path) != new_token(tmp_path)


def test_cleaning_a_study_that_left_nothing_ends_nothing(tmp_path: Path) -> None:
    assert end_marked(tmp_path) == 0
