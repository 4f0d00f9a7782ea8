"""Make a model folder: ``tune new NAME --from HF_ID``."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tuner.errors import MachineError, UsageError
from tuner.model.architecture import read_architecture
from tuner.model.parameter import quoted
from tuner.model.repository import CONFIG
from tuner.model.serving.settings import DTYPES
from tuner.model.serving_code import ARCHITECTURE, copy_serving_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.model.architecture import Architecture

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Task(str, Enum):
    """What the serving code does with a text."""

    TEXT_GENERATION = "text-generation"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """A folder that was made.

    Attributes:
        path: the folder.
        no_architecture: why it has no architecture.json, without which there are no dummy
            weights; None where it has one.
    """

    path: Path
    no_architecture: str | None


def create_model(
    name: str,
    *,
    hub_id: str,
    task: Task,
    repository: Path,
    shapes_of: Callable[[str], Architecture] = read_architecture,
) -> Scaffold:
    """Make a folder that serves a model of the Hugging Face hub.

    Args:
        name: of the folder, and so of the model.
        hub_id: such as ``facebook/opt-350m``, or a folder that holds the model's files.
        task: what the model does with a text.
        repository: where the folder goes; made where it is missing.
        shapes_of: asks for the network's shapes; raises MachineError where they are not to be
            had.

    Raises:
        UsageError: the name cannot be one, is taken, or the place cannot be written to.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"`{name}` cannot be a model's name: letters, digits, `_`, `-` and `.` make one up, "
            "and the first is a letter or a digit."
        )
    target = repository / name
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} is there already; choose another name, or move it away.")
    source = str(Path(hub_id).absolute()) if Path(hub_id).is_dir() else hub_id
    try:
        architecture, missing = shapes_of(source), None
    except MachineError as error:
        architecture, missing = None, str(error)
    try:
        _write(target, _config(name, source, task, architecture), architecture)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise UsageError(
            f"cannot write {target}: {error.strerror}; name another place by --model-repository."
        ) from error
    return Scaffold(path=target, no_architecture=missing)


def _write(target: Path, config: str, architecture: Architecture | None) -> None:
    copy_serving_code(target / "1")
    (target / CONFIG).write_text(config, encoding="utf-8")
    if architecture is not None:
        text = json.dumps(architecture.fields, indent=2) + "\n"
        (target / "1" / ARCHITECTURE).write_text(text, encoding="utf-8")


def _config(name: str, source: str, task: Task, architecture: Architecture | None) -> str:
    """Write out the template; the models that come with tuner are of the same form."""
    published = None if architecture is None else architecture.dtype
    match task:
        case Task.TEXT_GENERATION:
            output, last, usual_dtype = _TEXT, _MAX_OUTPUT_LENGTH, "float16"
        case Task.EMBEDDING:
            size = None if architecture is None else architecture.hidden_size
            output = _EMBEDDING.format(size=size or -1)  # -1: Triton takes any length
            last, usual_dtype = "", "float32"
    dtype = published if published in DTYPES else usual_dtype
    is_rough = task is Task.TEXT_GENERATION and dtype != "float32"
    return _TEMPLATE.format(
        title=source,
        name=quoted(name),
        output=output,
        task=quoted(task.value),
        source=quoted(source),
        dtype=quoted(dtype),
        tolerance=_ANSWER_TOLERANCE if is_rough else "",
        last=last,
    )


_TEXT: Final = """\
    # The prompt and its continuation.
    name: "text_output"
    data_type: TYPE_STRING
    dims: [ 1 ]"""

_EMBEDDING: Final = """\
    # Of length one: the dot product of two is their cosine.
    name: "embedding"
    data_type: TYPE_FP32
    dims: [ {size} ]"""

_MAX_OUTPUT_LENGTH: Final = """,
  {
    # New tokens per text; a request can ask for another number (max_tokens).
    key: "max_output_length"
    value: { string_value: "15" }
  }"""

_ANSWER_TOLERANCE: Final = """
  {
    # Half precision: batch-mates change the last bits, and a text goes on differently once one
    # token is another one. So much of the new text may differ from the answer given alone.
    key: "answer_tolerance"
    value: { string_value: "0.5" }
  },"""

_TEMPLATE: Final = """\
# {title}
# Complete, so that Triton need not start the model twice to complete it
# (--disable-auto-complete-config).
name: {name}
backend: "python"
max_batch_size: 8

input [
  {{
    name: "text_input"
    data_type: TYPE_STRING
    dims: [ 1 ]
  }}
]
output [
  {{
{output}
  }}
]

instance_group [
  {{
    # On the GPU where there is one, else on the CPU.
    kind: KIND_AUTO
    count: 1
  }}
]

parameters [
  {{
    key: "task"
    value: {{ string_value: {task} }}
  }},
  {{
    # On the Hugging Face hub, or a folder.
    key: "huggingface_model"
    value: {{ string_value: {source} }}
  }},
  {{
    # pretrained, or dummy: random weights of the shapes in 1/architecture.json, no download.
    key: "weights"
    value: {{ string_value: "pretrained" }}
  }},
  {{
    key: "torch_dtype"
    value: {{ string_value: {dtype} }}
  }},{tolerance}
  {{
    key: "attn_implementation"
    value: {{ string_value: "sdpa" }}
  }}{last}
]
"""
