"""What every server that `tune serve` can use promises; see ModelHost."""

from __future__ import annotations

import json
import shutil
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tuner.errors import ConfigurationRejected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tuner.servers.local import LocalServer

pytestmark = pytest.mark.server

START_S = 60.0


def copy_as(repository: Path, name: str) -> Path:
    shutil.copytree(repository / "light", repository / name)
    config = repository / name / "config.pbtxt"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('name: "light"', f'name: "{name}"'), encoding="utf-8")
    return repository / name


def infer(http: str, model: str, text: str) -> str:
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [1, 1], "data": [text]}
    body = json.dumps({"inputs": [tensor]}).encode()
    with urllib.request.urlopen(
        f"http://{http}/v2/models/{model}/infer", data=body, timeout=10
    ) as response:
        answer: str = json.load(response)["outputs"][0]["data"][0]
    return answer


def test_several_models_answer_on_one_server(
    local_server: Callable[[], LocalServer], repository: Path, tmp_path: Path
) -> None:
    copy_as(repository, "second")
    with local_server().serving_all(
        repository=repository,
        models=["light", "second"],
        log=tmp_path / "log",
        deadline_s=START_S,
    ) as endpoint:
        answers = {infer(endpoint.http, model, "hi") for model in ("light", "second")}
    assert len(answers) == 1


def test_the_model_that_does_not_load_is_named_among_several(
    local_server: Callable[[], LocalServer], repository: Path, tmp_path: Path
) -> None:
    broken = copy_as(repository, "broken")
    (broken / "1" / "model.py").write_text("raise RuntimeError('boom')\n", encoding="utf-8")
    serving = local_server().serving_all(
        repository=repository,
        models=["light", "broken"],
        log=tmp_path / "log",
        deadline_s=START_S,
    )
    with pytest.raises(ConfigurationRejected, match=r"^broken did not load: .*boom"), serving:
        pass
