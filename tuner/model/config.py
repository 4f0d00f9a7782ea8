"""What a config.pbtxt says, as far as tuning has to know it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from tuner.errors import ConfigSyntaxError, UsageError
from tuner.model import knobs, meaning, parameter, parts, reading, splice
from tuner.model.pbtxt import Document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tuner.measure.record import Params, Value
    from tuner.model.parts import InstanceGroup, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A config.pbtxt: its text, and what tuning reads from it.

    Attributes:
        document: the parsed text.
        name: None where it is absent; Triton then uses the folder's name.
        backend: as ``backend`` says, or the older ``platform``; None where both are absent.
        max_batch_size: 0 where it is absent: the model does not batch.
        dynamic_batching: whether the dynamic batcher is on.
        max_queue_delay_microseconds: 0 where it is absent.
        instance_groups: in the order of the file.
        inputs: in the order of the file.
        outputs: in the order of the file.
        decoupled: a request may get any number of responses.
        sequence_batching: requests belong to sequences; the dynamic batcher cannot be on.
        ensemble_models: models that an ensemble is made of; empty for any other model.
        parameters: the backend's own settings.
    """

    document: Document = field(repr=False)
    name: str | None
    backend: str | None
    max_batch_size: int
    dynamic_batching: bool
    max_queue_delay_microseconds: int
    instance_groups: tuple[InstanceGroup, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    decoupled: bool
    sequence_batching: bool
    ensemble_models: tuple[str, ...]
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str, *, path: Path) -> ModelConfig:
        """Parse a text.

        Args:
            text: the configuration.
            path: where it is from, for messages.

        Raises:
            ConfigSyntaxError: it does not parse, or a field that is read here has the wrong type.
        """
        document = Document.parse(text, path=path)
        root = document.root
        batcher = reading.one_message(document, root, "dynamic_batching")
        transaction = reading.one_message(document, root, "model_transaction_policy")
        return cls(
            document=document,
            name=reading.one_text(document, root, "name") or None,
            backend=parts.backend(document),
            max_batch_size=reading.one_int(document, root, "max_batch_size") or 0,
            dynamic_batching=batcher is not None,
            max_queue_delay_microseconds=parts.queue_delay(document, batcher),
            instance_groups=parts.instance_groups(document),
            inputs=parts.tensors(document, "input"),
            outputs=parts.tensors(document, "output"),
            decoupled=transaction is not None
            and reading.one_bool(document, transaction, "decoupled"),
            sequence_batching=reading.one_message(document, root, "sequence_batching") is not None,
            ensemble_models=parts.ensemble_models(document),
            parameters=MappingProxyType(parts.parameters(document)),
        )

    @classmethod
    def read(cls, path: Path) -> ModelConfig:
        """Read a file.

        Raises:
            ConfigSyntaxError: it does not parse or is not UTF-8.
            UsageError: it cannot be read.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"Cannot read {path}: {error.strerror}. Check that the file is there and yours "
                "to read."
            ) from error
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode("utf-8")
            raise ConfigSyntaxError(
                path,
                before.count("\n") + 1,
                len(before) - before.rfind("\n"),
                "this byte is not UTF-8; save the file as UTF-8",
            ) from error
        return cls.parse(text, path=path)

    @property
    def path(self) -> Path:
        """Where the text is from."""
        return self.document.path

    @property
    def text(self) -> str:
        """The text, byte for byte as it was read or edited."""
        return self.document.text

    @property
    def instance_count(self) -> int:
        """Instances in all, as far as this text alone tells.

        A group that runs on every GPU of the machine counts as if there were one GPU.
        """
        return sum(group.instances for group in self.instance_groups) or 1

    def with_params(self, params: Params, *, kind: str | None) -> ModelConfig:
        """Set knobs; all that they do not concern stays as it is, comments included.

        A knob that already has its value changes nothing, so that
        ``with_params(default_params(), kind=…)`` returns the same text, byte for byte.

        - ``max_batch_size``: int. Entries of ``preferred_batch_size`` that are larger than a new
          value are dropped and larger ``batch_size`` of ``model_warmup`` lowered to it, since
          Triton refuses a model that has one.
        - ``dynamic_batching``: bool. True keeps the block that is there or adds an empty one;
          False takes the block away with all that is in it.
        - ``max_queue_delay_microseconds``: int. Without effect where the result has no
          dynamic batching: there is no queue to wait in.
        - ``instance_count``: int, the count of every group; the groups' other fields stay. Where
          there is no group and the count is not 1, one is added.

        Args:
            params: any of the four.
            kind: kind of a group that has to be added, such as ``KIND_CPU``; None leaves it to
                Triton.

        Raises:
            UsageError: dynamic batching is to be turned on for a model that has a sequence
                batcher or is an ensemble; Triton takes one of them only.
            ValueError: an unknown knob, or a value of the wrong type or out of range.
        """
        wanted = knobs.Wanted.of(params)
        # One after the other: where a field goes depends on what the edit before it left.
        config = self.edited(knobs.edit_dynamic_batching(self, wanted))
        config = config.edited(knobs.edit_max_batch_size(config, wanted))
        config = config.edited(knobs.edit_queue_delay(config, wanted))
        return config.edited(knobs.edit_instance_count(config, wanted, kind))

    def with_parameter(self, name: str, value: str) -> ModelConfig:
        """Set one of the backend's own settings; all else stays as it is, comments included.

        Args:
            name: key in ``parameters``; an entry is added where there is none.
            value: its ``string_value``.
        """
        return self.edited(parameter.edit_parameter(self, name, value))

    def edited(self, splices: Sequence[splice.Splice]) -> ModelConfig:
        """The configuration whose text has these edits; this one where there are none."""
        if not splices:
            return self
        return ModelConfig.parse(splice.apply(self.text, splices), path=self.path)

    def default_params(self) -> dict[str, Value]:
        """The four knobs as the file has them.

        ``instance_count`` is left out where the groups have different counts: there is no one
        value, and setting one would make them equal.
        """
        params: dict[str, Value] = {
            "max_batch_size": self.max_batch_size,
            "dynamic_batching": self.dynamic_batching,
            "max_queue_delay_microseconds": self.max_queue_delay_microseconds,
        }
        counts = {group.count for group in self.instance_groups} or {1}
        if len(counts) == 1:
            params["instance_count"] = counts.pop()
        return params

    def fingerprint(self) -> str:
        """16 hex digits that are equal for texts which mean the same.

        Comments, layout, the order of fields, the way of writing a value and the defaults of the
        fields that ``with_params`` edits do not matter; everything else does.
        """
        return meaning.fingerprint(self.document, self.instance_groups)

    def with_provenance(self, lines: Sequence[str]) -> str:
        """The text with a block of comments at its top that says where it came from."""
        comments = [part for line in lines for part in line.splitlines() or [""]]
        return "".join(f"# {comment}".rstrip() + "\n" for comment in comments) + self.text

    def diff(self, other: ModelConfig) -> str:
        """A unified diff from this text to another; empty where they are equal."""
        lines = difflib.unified_diff(
            self.text.splitlines(),
            other.text.splitlines(),
            fromfile=str(self.path),
            tofile=str(other.path),
            lineterm="",
        )
        return "".join(f"{line}\n" for line in lines)
