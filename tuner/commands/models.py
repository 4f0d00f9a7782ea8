"""Commands around a model: make its folder, serve it, ask it."""

from __future__ import annotations

import json as json_form
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner import query as asking
from tuner import serve as serving_models
from tuner.commands.options import (
    REPOSITORY,
    BuildArgOption,
    GpusOption,
    ImageOption,
    JsonOption,
    LoadDeadlineOption,
    RepositoryOption,
    ServerOption,
    ServerPythonOption,
    TritonDirOption,
)
from tuner.errors import ConfigurationRejected
from tuner.model.repository import CONFIG, find_model
from tuner.model.scaffold import Task, create_model
from tuner.model.serving_code import ARCHITECTURE
from tuner.model.weights import Weights
from tuner.server_choice import ServerKind, ServerOptions, model_host
from tuner.servers.remote import DEFAULT_URL
from tuner.terminal import note, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.servers.port import Endpoint

_Port = Annotated[int | None, typer.Option(min=1, max=65535)]


def serve(  # noqa: PLR0913 - one parameter an option
    models: Annotated[list[str], typer.Argument(help="Models to serve, by name or folder.")],
    *,
    weights: Annotated[
        Weights | None,
        typer.Option(help="Serve with these; dummy ones need no download."),
    ] = None,
    http_port: _Port = None,
    grpc_port: _Port = None,
    metrics_port: _Port = None,
    server: ServerOption = ServerKind.AUTO,
    image: ImageOption = None,
    gpus: GpusOption = None,
    build_arg: BuildArgOption = None,
    load_deadline: LoadDeadlineOption = 600.0,
    log: Annotated[Path | None, typer.Option(help="File for the server's log.")] = None,
    repository: RepositoryOption = REPOSITORY,
    triton_dir: TritonDirOption = None,
    server_python: ServerPythonOption = None,
    json: JsonOption = False,
) -> None:
    """Serve models on this machine until Ctrl-C, on ports 8000 to 8002 where they are free."""
    found = serving_models.distinct([find_model(model, repository) for model in models])
    names = [model.name for model in found]
    ports = serving_models.PortChoice(asked=(http_port, grpc_port, metrics_port))
    options = ServerOptions(
        kind=server,
        image=image,
        gpus=gpus,
        build_args=tuple(build_arg or ()),
        triton_dir=triton_dir,
        server_python=server_python,
    )
    host = model_host(options, repository.absolute(), note, choose_ports=ports.choose)
    serving = serving_models.serving(
        host,
        found,
        weights=weights,
        owner=repository.absolute(),
        log=log,
        deadline_s=load_deadline,
    )
    is_ready = False
    note(f"Loading {', '.join(names)} …")
    try:
        with serving as endpoint:
            is_ready = True
            _print_endpoint(endpoint, names, json=json)
            serving_models.wait_until_gone(endpoint)
    except ConfigurationRejected as rejected:
        note(rejected.evidence)
        raise
    except KeyboardInterrupt:
        note("Stopped.")
        raise typer.Exit(0 if is_ready else 128 + signal.SIGINT) from None


def _print_endpoint(endpoint: Endpoint, names: Sequence[str], *, json: bool) -> None:
    if json:
        told = {"models": names, "http": endpoint.http, "grpc": endpoint.grpc}
        output(json_form.dumps(told | {"metrics": endpoint.metrics}))
    else:
        output(f"http     http://{endpoint.http}\ngrpc     {endpoint.grpc}")
        if endpoint.metrics is not None:
            output(f"metrics  http://{endpoint.metrics}/metrics")
    url = "" if endpoint.http == DEFAULT_URL else f" --url {endpoint.http}"
    note(
        f'Serving {", ".join(names)}; Ctrl-C ends it. Ask: tune query {names[0]} "I am going"{url}'
    )


def query(
    model: Annotated[str, typer.Argument(help="Model on the server.")],
    text: Annotated[str, typer.Argument(help="Text to send.")],
    *,
    url: Annotated[str, typer.Option(help="HTTP address of the server.")] = DEFAULT_URL,
    generate: Annotated[
        bool, typer.Option("--generate", help="Use the generate endpoint instead of infer.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="New tokens to write; the model's own by default.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Send a text to a model on a running server and print its answer."""
    client = asking.Client(url)
    info = client.model(model)
    parameters = {} if max_tokens is None else {"max_tokens": max_tokens}
    ask = client.generate if generate else client.infer
    answer = ask(model, info, text, parameters)
    output(json_form.dumps(answer, ensure_ascii=False) if json else asking.as_text(answer))


def new(
    name: Annotated[str, typer.Argument(help="Name of the new model and its folder.")],
    *,
    source: Annotated[
        str, typer.Option("--from", help="Id on the Hugging Face hub, or a folder with its files.")
    ],
    task: Annotated[Task, typer.Option(help="What it does with a text.")] = Task.TEXT_GENERATION,
    repository: RepositoryOption = REPOSITORY,
) -> None:
    """Make a model folder for a model of the Hugging Face hub."""
    made = create_model(name, hub_id=source, task=task, repository=repository)
    output(str(made.path))
    if made.no_architecture is not None:
        place = made.path / "1" / ARCHITECTURE
        note(
            f"Without {place}: {made.no_architecture} It is what --weights dummy is made from; to "
            "use that, put the model's config.json there under that name."
        )
    note(f"Next: look at {made.path / CONFIG}, then run: tune {name}")
