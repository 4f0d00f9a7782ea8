"""Bring a network onto its device: the published weights, or random ones of the same shapes."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .embedding import Embedder
from .generation import Generator
from .tokens import HubTokenizer, stand_in

if TYPE_CHECKING:
    from .settings import Settings
    from .tokens import Tokenizer

ARCHITECTURE = "architecture.json"


class LoadFailed(RuntimeError):  # noqa: N818 - named beside BadConfig
    """The weights are not to be had; the message says what to do."""


def load_engine(settings: Settings, folder: Path) -> Generator | Embedder:
    """Load the network and what belongs to it.

    Args:
        settings: what to load, and where to.
        folder: the model's version folder; ``architecture.json`` in it describes the network as
            transformers does in a config.json.

    Raises:
        LoadFailed: no network, no cached weights, or no access to them.
    """
    torch.set_num_threads(settings.threads)
    if settings.weights == "dummy":
        network = _dummy(settings, json.loads((folder / ARCHITECTURE).read_text("utf-8")))
        tokenizer: Tokenizer = stand_in(network.config.vocab_size)
    else:
        network, tokenizer = _pretrained(settings)
    network.eval()
    context: int | None = getattr(network.config, "max_position_embeddings", None)
    if settings.task == "embedding":
        return Embedder(
            network=network,
            tokenizer=tokenizer,
            longest=_shorter(settings.max_input_length, context),
            device=settings.device,
        )
    return Generator(
        network=network,
        tokenizer=tokenizer,
        context=context,
        max_output_length=settings.max_output_length,
        device=settings.device,
    )


def _auto_class(settings: Settings) -> Any:  # noqa: ANN401 - transformers has no types
    """Import late and only what the task needs: this import is most of a start's time."""
    if settings.task == "embedding":
        from transformers import AutoModel

        return AutoModel
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM


def _dummy(settings: Settings, architecture: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
    """Build the network with random weights, on its device from the first byte on.

    What a forward pass costs does not depend on the weights' values, but on the number of tokens,
    which the stand-in for the tokenizer sees to. So this tunes a model without its download. The
    same seed gives the same weights in every instance.
    """
    from transformers import AutoConfig

    config = AutoConfig.for_model(**architecture)
    torch.manual_seed(settings.seed)
    with torch.device(settings.device):
        return _auto_class(settings).from_config(
            config,
            dtype=getattr(torch, settings.torch_dtype),
            attn_implementation=settings.attn_implementation,
        )


def _pretrained(settings: Settings) -> tuple[Any, Tokenizer]:
    """Read the weights from a package, a folder, the cache or the hub, in this order."""
    source = _source(settings)
    try:
        # The cache first: a hub that cannot be reached costs most of a minute of retries.
        return _read(settings, source, local_files_only=True)
    except OSError:
        try:
            return _read(settings, source, local_files_only=False)
        except OSError as error:
            raise LoadFailed(
                f"{source} is not in the cache and cannot be downloaded: {error}\n"
                "Check the network; for a gated model set PRIVATE_REPO_TOKEN; or go on without the"
                " weights: `tune --weights dummy`, or weights: dummy in config.pbtxt, serves"
                " random weights of the same shapes."
            ) from error


def _source(settings: Settings) -> str:
    if settings.weights_package is not None:
        package = importlib.util.find_spec(settings.weights_package)
        if package is not None and package.origin is not None:
            return str(Path(package.origin).parent / "model")
    return settings.huggingface_model


def _read(settings: Settings, source: str, *, local_files_only: bool) -> tuple[Any, Tokenizer]:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    # A progress bar would fill the server's log. Untyped there, and said so here.
    messages: Any = logging
    messages.disable_progress_bar()
    access = {
        "token": os.environ.get("PRIVATE_REPO_TOKEN") or None,
        "local_files_only": local_files_only,
    }
    network = _auto_class(settings).from_pretrained(
        source,
        dtype=getattr(torch, settings.torch_dtype),
        attn_implementation=settings.attn_implementation,
        **access,
    )
    tokenizer = AutoTokenizer.from_pretrained(source, **access)
    context: int | None = getattr(network.config, "max_position_embeddings", None)
    return network.to(settings.device), HubTokenizer(
        tokenizer,
        stop_ids=_stop_ids(network),
        longest=(
            _shorter(settings.max_input_length, context) if settings.task == "embedding" else None
        ),
    )


def _stop_ids(network: Any) -> frozenset[int]:  # noqa: ANN401 - transformers has no types
    """Read which tokens end a text; the generation settings know more than the config."""
    for holder in (getattr(network, "generation_config", None), network.config):
        given = getattr(holder, "eos_token_id", None)
        if given is not None:
            return frozenset([given] if isinstance(given, int) else given)
    return frozenset()


def _shorter(asked: int | None, possible: int | None) -> int | None:
    return min((length for length in (asked, possible) if length is not None), default=None)
