"""The model card of any model file, without a runtime and, for weights, without torch."""

from __future__ import annotations

import json
from pathlib import Path

from cornernet.engine.backends.engine_card import read_engine_card
from cornernet.engine.backends.open import weights_beside
from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import METADATA_KEY, ModelCard
from cornernet.engine.printable import printable

LARGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""


def read_card(model: Path) -> ModelCard:
    """Of a .safetensors checkpoint, a .onnx file or an engine (its sidecar).

    Raises ModelError if there is none or it is not valid, BackendError if onnx is needed and not installed.
    """
    suffix = model.suffix.lower()
    if beside := weights_beside(model):
        raise ModelError(beside)
    if suffix == ".safetensors":
        return _of_weights(model)
    if suffix == ".onnx":
        from cornernet.export.parse_network import read_onnx

        return read_onnx(model)[1]
    return read_engine_card(model).card


def _of_weights(model: Path) -> ModelCard:
    """8 bytes of header length, then the header as JSON."""
    try:
        with model.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER:
                raise ValueError(f"a header of {length:,} bytes")
            text = json.loads(file.read(length))["__metadata__"][METADATA_KEY]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"{printable(model)}: no weights with a model card ({why}); expected a .safetensors file of "
            "`cornernet train` or `cornernet import`"
        ) from error
    if not isinstance(text, str):
        raise ModelError(f"{printable(model)}: its model card is no text; write the file again with `cornernet train`")
    return ModelCard.from_json(text, origin=printable(model))
