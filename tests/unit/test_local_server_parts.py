from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tuner.errors import MachineError
from tuner.servers.failure import explain, is_port_taken
from tuner.servers.installation import Installation, find
from tuner.servers.interpreter import Interpreter, ask

TRACEBACK = (
    "Internal: RuntimeError: boom\\nand more\\n\\nAt:\\n"
    "  /models/toy/1/model.py(5): inner\\n  /models/toy/1/model.py(6): initialize\\n"
)
LOAD_FAILED = f"""\
E1122 18:48:47.323629 8234 server.cc:241] "CudaDriverHelper has not been initialized."
I1122 18:48:47.324552 8234 model_lifecycle.cc:472] "loading: toy:1"
E1122 18:48:47.674246 8234 model_lifecycle.cc:642] "failed to load 'toy' version 1: {TRACEBACK}"
+-------+--------+
| Model | Status |
+-------+--------+
I1122 18:48:47.674656 8234 server.cc:336] "All models are stopped, unloading models"
error: creating server: Invalid argument - load failed for model 'toy'
"""
NOT_PARSED = """\
E1122 18:48:50.062436 8274 server.cc:241] "CudaDriverHelper has not been initialized."
[libprotobuf ERROR /src/text_format.cc:337] Error parsing text-format: 4:50: Unknown enumeration.
E1122 18:48:50.063249 8274 model_repository_manager.cc:1460] "Poll failed for model 'toy'"
error: creating server: Internal - failed to load all models
"""
PORT_TAKEN = """\
I1122 18:52:32.880138 13988 http_server.cc:4713] "Started HTTPService at 127.0.0.1:59569"
E1122 18:52:32.921667 13988 main.cc:257] "failed to start HTTP service: Unavailable - \
Socket '127.0.0.1:59569' already in use "
"""


def python_311(path: Path = Path("/env/bin/python3")) -> Interpreter:
    return Interpreter(path=path, version="3.11.7", packages={}, library=None)


def triton_folder(folder: Path, *stubs: str) -> Path:
    """Lay out a Triton folder as the wheel does, of files that only have names."""
    parts = ["bin/tritonserver", "backends/python/libtriton_python.so"]
    parts.append("backends/python/triton_python_backend_utils.py")
    for part in parts:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).touch()
    for version in stubs:
        stub = folder / "python_backend_stubs" / version / "triton_python_backend_stub"
        stub.parent.mkdir(parents=True)
        stub.write_bytes(b"\x7fELF\0libm.so.6\0libpython%s.so.1.0\0" % version.encode())
    return folder


def program(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    path.chmod(0o755)
    return path


def test_a_load_failure_is_the_models_error_and_where_it_was_raised() -> None:
    assert explain(LOAD_FAILED, "toy").reason == "RuntimeError: boom (model.py, line 5)"


def test_the_evidence_begins_with_the_traceback_and_leaves_the_tables_out() -> None:
    evidence = explain(LOAD_FAILED, "toy").evidence
    assert evidence.startswith("Internal: RuntimeError: boom\nand more\n\nAt:\n")
    assert evidence.endswith("load failed for model 'toy'")
    assert "| Model | Status |" not in evidence


def test_the_evidence_of_a_long_log_is_its_end() -> None:
    log = "\n".join(f"line {number}" for number in range(1000))
    assert explain(log, "toy").evidence.splitlines() == [f"line {n}" for n in range(960, 1000)]


def test_a_configuration_that_does_not_parse_is_explained_with_its_line_and_column() -> None:
    reason = explain(NOT_PARSED, "toy").reason
    assert reason.startswith("Error parsing text-format: 4:50")
    assert "CudaDriverHelper" not in reason


@pytest.mark.parametrize(("log", "reason"), [("", "the log is empty"), ("a\nb\n", "b")])
def test_a_log_without_complaints_is_explained_by_its_last_line(log: str, reason: str) -> None:
    assert explain(log, "toy").reason == reason


def test_a_taken_port_is_told_from_other_failures() -> None:
    assert is_port_taken(PORT_TAKEN)
    assert not is_port_taken(LOAD_FAILED)


def test_a_folder_has_the_stubs_that_lie_in_it(tmp_path: Path) -> None:
    assert find(triton_folder(tmp_path, "3.10", "3.11")).stubs.keys() == {"3.10", "3.11"}


def test_the_stub_beside_the_backend_goes_before_the_others(tmp_path: Path) -> None:
    folder = triton_folder(tmp_path, "3.10", "3.11")
    beside = folder / "backends" / "python" / "triton_python_backend_stub"
    beside.write_bytes(b"\0libpython3.11.so.1.0\0")
    assert find(folder).stub(python_311()) == beside


def test_a_python_without_a_stub_is_told_which_there_are(tmp_path: Path) -> None:
    installation = find(triton_folder(tmp_path, "3.8", "3.12", "3.10"))
    with pytest.raises(MachineError, match=r"Python 3\.8, 3\.10, 3\.12, but .* Python 3\.11\.7"):
        installation.stub(python_311())


def test_the_links_hold_the_backend_one_stub_and_libpython(tmp_path: Path) -> None:
    library = tmp_path / "libpython3.11.so.1.0"
    library.touch()
    interpreter = Interpreter(
        path=Path("/env/bin/python3"), version="3.11.7", packages={}, library=library
    )
    installation = find(triton_folder(tmp_path / "triton", "3.10", "3.11"))
    installation.link_into(tmp_path / "links", interpreter)
    backend = tmp_path / "links" / "backends" / "python"
    assert (backend / "triton_python_backend_stub").resolve() == installation.stubs["3.11"]
    assert {path.name for path in backend.iterdir()} == {
        "libtriton_python.so",
        "triton_python_backend_stub",
        "triton_python_backend_utils.py",
    }
    assert (tmp_path / "links" / "lib" / library.name).resolve() == library


def test_a_folder_that_is_no_triton_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"bin/tritonserver is missing.*--triton-dir"):
        find(tmp_path)


def test_a_triton_without_any_stub_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot serve Python models"):
        find(triton_folder(tmp_path))


def test_the_binary_is_found_in_the_folder(tmp_path: Path) -> None:
    assert Installation(folder=tmp_path, stubs={}).binary == tmp_path / "bin" / "tritonserver"


def test_this_interpreter_tells_its_version_and_packages() -> None:
    told = ask(Path(sys.executable))
    assert told.version == ".".join(map(str, sys.version_info[:3]))
    assert told.minor == ".".join(map(str, sys.version_info[:2]))
    assert told.packages["numpy"][0].isdigit()


def test_an_interpreter_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"No such file.*--server-python"):
        ask(tmp_path / "python3")


def test_an_interpreter_that_fails_is_quoted_by_its_last_line(tmp_path: Path) -> None:
    python = program(tmp_path / "python3", "echo first >&2", "echo last >&2", "exit 1")
    with pytest.raises(MachineError, match="does not run: last"):
        ask(python)


def test_an_interpreter_without_libpython_is_refused(tmp_path: Path) -> None:
    told = '{"version": "3.11.7", "packages": {}, "library": null, "loadable": false}'
    with pytest.raises(MachineError, match="without the library libpython"):
        ask(program(tmp_path / "python3", f"echo '{told}'"))


def test_an_interpreter_whose_folder_has_no_python3_is_refused(tmp_path: Path) -> None:
    told = '{"version": "3.11.7", "packages": {}, "library": null, "loadable": true}'
    with pytest.raises(MachineError, match="no python3 beside"):
        ask(program(tmp_path / "python", f"echo '{told}'"))
