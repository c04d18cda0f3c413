"""Files of weights: our checkpoints and resume files, other projects' pickles. None of them may be executed."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from typer.testing import CliRunner

from attack.families import Case
from attack.mutations import extreme, mutate, mutate_json, odd_value
from cornernet.cli import app
from cornernet.engine.model_card import METADATA_KEY, ModelCard
from cornernet.trainer.import_weights import import_checkpoint
from cornernet.trainer.loop.resume_file import load_resume, save_resume
from cornernet.trainer.network.checkpoint import NETWORK_KEY, load_checkpoint, save_checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import NetworkConfig

_SMALL = NetworkConfig(
    name="small",
    num_classes=2,
    dims=(8, 8),
    modules=(1, 1),
    stem_channels=(4, 8),
    stem_kernel=3,
    stacks=1,
    feature_channels=8,
    pool_channels=4,
    head_channels=8,
)


@cache
def good_checkpoint(folder: Path) -> bytes:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = CornerNet(_SMALL)
    multiple = _SMALL.size_multiple
    card = ModelCard(name="small", class_names=("a", "b"), category_ids=(1, 2), size_multiple=multiple, max_size=256)
    save_checkpoint(folder / "good.safetensors", network, card)
    return (folder / "good.safetensors").read_bytes()


@cache
def good_resume(folder: Path) -> bytes:
    network = {"weight": torch.zeros(3), "bias": torch.zeros(1)}
    optimizer = {
        "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}},
        "param_groups": [{"params": [0]}],
    }
    rest: dict[str, Any] = {"config": {"preset": "tiny"}, "averaged": {}, "scaler": {}, "step": 3, "best_ap": 0.5}
    save_resume(folder / "good.pt", {"network": network, "optimizer": optimizer, **rest})
    return (folder / "good.pt").read_bytes()


def make(chance: Random, folder: Path, number: int) -> Case:
    kind = chance.choice(
        ("safetensors", "safetensors header", "resume", "resume entries", "pickle", "opcodes", "containers")
    )
    executed = folder / "executed"
    executed.unlink(missing_ok=True)
    path = folder / ("case.safetensors" if kind.startswith("safetensors") else chance.choice(("case.pt", "case.pkl")))
    path.write_bytes(_MAKERS[kind](chance, folder))

    def drive() -> str:
        try:
            if kind.startswith("safetensors"):
                _info(path)
                network, card = load_checkpoint(path)
                side = card.size_multiple
                with torch.inference_mode():
                    network(torch.zeros(1, 3, side, side))
            elif kind.startswith("resume"):
                load_resume(path)
            else:
                import_checkpoint(path)
        finally:
            assert not executed.exists(), "something in the file was executed"
        return "used"

    return Case(kind, drive)


def _info(path: Path) -> None:
    done = CliRunner().invoke(app, ["info", str(path)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception


class _Executes:
    """Asks to write a file when it is read."""

    def __reduce__(self) -> Any:
        return open, ("executed", "w")


def _header(chance: Random, folder: Path) -> bytes:
    """The JSON header changed: names, types, shapes, offsets, card and network configuration."""
    data = good_checkpoint(folder)
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    part = chance.choice(("all", METADATA_KEY, NETWORK_KEY, NETWORK_KEY))
    if part == "all":
        header = mutate_json(chance, header)
    else:
        header["__metadata__"][part] = json.dumps(mutate_json(chance, json.loads(header["__metadata__"][part])))
    text = json.dumps(header).encode()
    said = chance.choice((len(text), len(text), len(text), extreme(chance)))
    return struct.pack("<Q", said) + text + data[8 + length :]


def _resume_entries(chance: Random, folder: Path) -> bytes:
    """Signed as ours, with other entries."""
    content = torch.load(io.BytesIO(good_resume(folder)), weights_only=True)
    parent = chance.choice((content, content["optimizer"], content["optimizer"]["state"], content["network"]))
    key = chance.choice(list(parent))
    parent[key] = chance.choice((odd_value(chance), torch.zeros(2), _Executes(), {}, [[]]))
    save_resume(folder / "made.pt", content)
    return (folder / "made.pt").read_bytes()


def _pickle(chance: Random, folder: Path) -> bytes:
    """What `torch.save` writes, in the zip form or the old one, damaged."""
    content = {"state_dict": {f"module.kps.{place}.weight": torch.zeros(place) for place in range(4)}, "epoch": 3}
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=chance.random() < 0.6)
    return mutate(chance, file.getvalue())


_OPCODES = [opcode for name, opcode in vars(pickle).items() if isinstance(opcode, bytes) and len(opcode) == 1]
_CALLS = (b"cos\nsystem\n", b"cposix\nsystem\n", b"cbuiltins\neval\n", b"ctorch\n_utils\n", b"c__builtin__\ngetattr\n")
_CALLS += (b"cnumpy\nndarray\n", b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n")


def _opcodes(chance: Random, folder: Path) -> bytes:
    """A pickle program of arbitrary instructions, alone or inside a zip of PyTorch's form."""
    program = b"\x80\x02"
    for _ in range(chance.randrange(1, 60)):
        program += chance.choice(
            (*_OPCODES, chance.choice(_CALLS), b"X\x0f\0\0\0touch executed;", b"U\x01a", b"K\x05", b"(")
        )
        program += chance.randbytes(chance.choice((0, 0, 0, 1, 4)))
    program += b"."
    if chance.random() < 0.5:
        return program
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3")
        archive.writestr("archive/data/0", bytes(400))
    return file.getvalue()


def _containers(chance: Random, folder: Path) -> bytes:
    """State dictionaries in odd containers, with odd names and tensors."""
    tensors: list[Any] = [
        torch.zeros(2),
        torch.zeros(0),
        torch.zeros(1, 1, 1, 1),
        torch.zeros(1).expand(10**9),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2).to_sparse(),
        torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8),
        torch.full((2,), float("nan")),
        torch.empty(2**40, device="meta"),
        _Executes(),
        odd_value(chance),
    ]
    names = [
        "kps.0.weight",
        "module.",
        "",
        "tl_heats.0.1.weight",
        "heads.0.top_left.heatmap.1.weight",
        "a\nb",
        "\udce9",
    ]
    names += ["bbox_head.tl_heat.0.1.conv.weight", "module.module.pre.0.conv.weight", "ema_backbone_stem", 3, None]
    state: Any = {chance.choice(names): chance.choice(tensors) for _ in range(chance.randrange(6))}
    for _ in range(chance.randrange(4)):
        state = {chance.choice(("state_dict", "model", "net", "ema_state_dict", "x")): state, "meta": odd_value(chance)}
        if chance.random() < 0.1:
            state["state_dict"] = state
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=chance.random() < 0.6)
    return file.getvalue()


_MAKERS = {
    "safetensors": lambda chance, folder: mutate(chance, good_checkpoint(folder)),
    "safetensors header": _header,
    "resume": lambda chance, folder: mutate(chance, good_resume(folder)),
    "resume entries": _resume_entries,
    "pickle": _pickle,
    "opcodes": _opcodes,
    "containers": _containers,
}
