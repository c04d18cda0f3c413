"""Safetensors files: written the same to the byte each time, and read with one error for whatever is wrong.

The library's own writer puts the metadata in another order in every process. The format is small enough to write here:
8 bytes of header length, the header as JSON, then the tensors without gaps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from cornernet.engine.arguments import is_file, shown_path
from cornernet.engine.backends.open import weights_beside
from cornernet.engine.errors import ModelError
from cornernet.engine.whole_file import write_whole

Shapes = dict[str, tuple[int, ...]]

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write the file whole or not at all; equal contents give equal bytes.

    Raises OSError; ValueError for a tensor of a type that networks do not have.
    """
    # Wide types first, as the library does: then every tensor lies at a multiple of its own element size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        tensor = tensors[name]
        if tensor.dtype not in _TYPES:
            raise ValueError(f"{name} is {tensor.dtype}; expected one of {', '.join(map(str, _TYPES))}")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in names:
                content = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                file.write(content.numpy().data)

    write_whole(path, write)


def read_header(path: Path) -> tuple[dict[str, str], Shapes]:
    """Metadata and shapes of the tensors, which are not read. Raises ModelError as `read_safetensors`."""
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return dict(file.metadata() or {}), shapes


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file. Raises ModelError if it is missing, truncated or something else."""
    with _opened(path) as file:
        return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not is_file(path):
        raise ModelError(f"{shown_path(path)}: no such file; expected a .safetensors checkpoint.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except Exception as error:  # the library and torch raise many types for a damaged file
        exported = f"{path}: an exported model; what is needed here are the weights it was made of (.safetensors)."
        raise ModelError(
            weights_beside(path)
            or (exported if path.suffix.lower() in (".onnx", ".engine") else "")
            or f"{path}: not a readable safetensors file ({error}). A .pkl or .pth of another project: "
            "`cornernet import FILE -o model.safetensors`."
        ) from error
