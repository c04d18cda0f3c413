"""Another model card into a model file that is there: its weights stay as they are, to the bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from cornernet.engine.backends.engine_card import read_engine_card, write_engine_card
from cornernet.engine.errors import ExportError
from cornernet.engine.model_card import METADATA_KEY, ModelCard
from cornernet.engine.whole_file import write_whole


def write_card(model: Path, card: ModelCard) -> None:
    """Replace the card of a .safetensors checkpoint, a .onnx file or an engine (its sidecar), whole or not at all.

    Raises ExportError for any other file or one without a card, OSError if it cannot be written.
    """
    suffix = model.suffix.lower()
    if suffix == ".safetensors":
        _into_safetensors(model, card)
    elif suffix == ".onnx":
        _into_onnx(model, card)
    elif suffix in (".engine", ".plan"):
        write_engine_card(model, read_engine_card(model).model_copy(update={"card": card}))
    else:
        raise ExportError(f"{model}: a card is written into .safetensors, .onnx and .engine files only")


def _into_safetensors(model: Path, card: ModelCard) -> None:
    """8 bytes of header length, the header as JSON, the tensors, whose offsets count from the header's end."""
    with model.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        if METADATA_KEY not in header.get("__metadata__", {}):
            raise ExportError(f"{model}: has no model card to replace")
        header["__metadata__"][METADATA_KEY] = card.to_json()
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)

        def write(partial: Path) -> None:
            with partial.open("wb") as out:
                out.write(len(text).to_bytes(8, "little") + text)
                shutil.copyfileobj(file, out, 2**24)

        write_whole(model.resolve(), write)  # what a link leads to, not the link


def _into_onnx(model: Path, card: ModelCard) -> None:
    import onnx

    content = onnx.load(model, load_external_data=False)
    for entry in content.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = card.to_json()
            break
    else:
        raise ExportError(f"{model}: has no model card to replace")
    write_whole(model.resolve(), lambda partial: partial.write_bytes(content.SerializeToString()))
