"""One convolution for those that read the same features: what the exported graph would gain by it, and where.

    python -m cornernet.benchmarks.fused_convolutions squeeze hourglass-104 --json fused_convolutions.json

A model is an ONNX file, or a preset with random weights. Each is timed beside copies of it in which such convolutions
are one, with one activation, and its channels are split again: canvas after canvas in turns, in one process.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.numpy_helper

from cornernet.benchmarks.latency.pictures import draw_picture
from cornernet.benchmarks.model_command import run_command
from cornernet.benchmarks.opening_memory import RUNTIMES
from cornernet.benchmarks.untrained_models import exported
from cornernet.engine.backends.open import Precision, Runtime, open_backend
from cornernet.engine.machine import machine_facts
from cornernet.export.parse_network import read_onnx

SIDE = 511
WARM_UPS = 2
FORMS = {"in front of corner pooling": (3,), "all": (1, 3)}
"""Which are made one: those in front of corner pooling are the only ones with kernels of 3 x 3 that read one tensor."""
NOISE = 0.02
"""A ratio of times nearer to 1 is neither gain nor loss."""


class Sibling(NamedTuple):
    """A convolution and the activation that alone reads it, if there is one."""

    convolution: onnx.NodeProto
    activation: onnx.NodeProto | None

    @property
    def output(self) -> str:
        return (self.activation or self.convolution).output[0]


def fuse_siblings(model: onnx.ModelProto, kernels: Sequence[int] = (1, 3)) -> list[str]:
    """Make one of the main graph's convolutions that read one tensor in one way, in place; kernels: sides of theirs.

    Weights one behind the other, one activation if all have it, and a Split. Returns a line for each that was made.
    """
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    described = []
    for siblings in _siblings(graph, tensors, kernels):
        first = siblings[0].convolution
        parts = [[onnx.numpy_helper.to_array(tensors[name]) for name in one.convolution.input[1:]] for one in siblings]
        sizes = [weight.shape[0] for weight, *_ in parts]
        name = f"{first.output[0]}_and_{len(siblings) - 1}_more"
        new = [
            onnx.numpy_helper.from_array(np.concatenate(values), f"{name}_{place}")
            for place, values in enumerate(zip(*parts))
        ]
        cuts = onnx.numpy_helper.from_array(np.array(sizes, np.int64), f"{name}_sizes")
        nodes = [onnx.helper.make_node("Conv", [first.input[0], *(tensor.name for tensor in new)], [name], name=name)]
        nodes[0].attribute.extend(first.attribute)
        if siblings[0].activation is not None:
            nodes.append(onnx.helper.make_node("Relu", [name], [f"{name}_relu"], name=f"{name}/Relu"))
        outputs = [one.output for one in siblings]
        nodes.append(
            onnx.helper.make_node("Split", [nodes[-1].output[0], cuts.name], outputs, name=f"{name}/Split", axis=1)
        )
        place = list(graph.node).index(first)
        for one in siblings:
            for node in filter(None, one):
                graph.node.remove(node)
        for node in reversed(nodes):
            graph.node.insert(place, node)
        graph.initializer.extend([*new, cuts])
        kernel = "x".join(map(str, parts[0][0].shape[2:]))
        described.append(f"{kernel}, {parts[0][0].shape[1]} -> {' + '.join(map(str, sizes))}")
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return described


def _siblings(
    graph: onnx.GraphProto, tensors: Mapping[str, onnx.TensorProto], kernels: Sequence[int]
) -> list[list[Sibling]]:
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    given = {output.name for output in graph.output}
    alike: defaultdict[tuple[object, ...], list[Sibling]] = defaultdict(list)
    for node in graph.node:
        if node.op_type != "Conv" or not set(node.input[1:]) <= tensors.keys():
            continue
        attributes = tuple(sorted(attribute.SerializeToString() for attribute in node.attribute))
        shape = tuple(tensors[node.input[1]].dims[1:])
        grouped = any(attribute.name == "group" and attribute.i != 1 for attribute in node.attribute)
        if grouped or shape[-1] not in kernels:
            continue
        following = readers[node.output[0]]
        alone = len(following) == 1 and following[0].op_type == "Relu" and node.output[0] not in given
        activation = following[0] if alone else None
        alike[node.input[0], attributes, shape, len(node.input), alone].append(Sibling(node, activation))
    return [siblings for siblings in alike.values() if len(siblings) > 1]


def measure(models: Sequence[str], *, rounds: int = 3, runs: int = 3, side: int = SIDE) -> dict[str, Any]:
    """The report, JSON-ready: of each model what was made one, and for each runtime and form a row.

    ms: of one canvas (side, side) [px], uint8 to candidates, as exported and in this form, medians of the rounds'
    medians. ratios: one by the other, of each round; cpu_ratios: of the processor's time, which other processes on the
    machine disturb less. Raises CornerNetError if a file cannot be read or run.
    """
    found = []
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            files, fused = [exported(model, Path(folder))], {}
            for form, kernels in FORMS.items():
                graph = read_onnx(files[0])[0]
                fused[form] = dict(Counter(fuse_siblings(graph, kernels)))
                files.append(Path(folder) / f"{form}.onnx")
                onnx.save(graph, files[-1])
                del graph
            rows = []
            for runtime, how in RUNTIMES.items():
                before, *others = times_of(files, *how, rounds=rounds, runs=runs, side=side)
                for form, after in zip(FORMS, others):
                    times = [statistics.median(each.wall) for each in (before, after)]
                    ratios, cpu_ratios = ([one / other for one, other in zip(*pair)] for pair in zip(after, before))
                    rows.append(
                        {"runtime": runtime, "form": form, "ms": times, "ratios": ratios, "cpu_ratios": cpu_ratios}
                    )
        found.append({"name": Path(model).stem, "fused": fused, "rows": rows})
    settings = {"side": side, "rounds": rounds, "runs": runs}
    return {"machine": machine_facts(), "settings": settings, "models": found}


class Times(NamedTuple):
    """Each round's median [ms], by the clock and of the processor."""

    wall: list[float]
    cpu: list[float]


def times_of(
    files: Sequence[Path], runtime: Runtime, precision: Precision, *, rounds: int, runs: int, side: int
) -> list[Times]:
    """Of each file; they take turns, run by run."""
    canvas = draw_picture(np.random.default_rng(0), side, side)[None]
    backends = [open_backend(path, runtime=runtime, precision=precision, device="cpu") for path in files]
    medians = [Times([], []) for _ in files]
    try:
        for backend in backends * WARM_UPS:
            backend.run(canvas)
        for _ in range(rounds):
            times = [Times([], []) for _ in files]
            for _ in range(runs):
                for backend, of_file in zip(backends, times):
                    start, start_cpu = time.perf_counter(), time.process_time()
                    backend.run(canvas)
                    of_file.cpu.append((time.process_time() - start_cpu) * 1000)
                    of_file.wall.append((time.perf_counter() - start) * 1000)
            for of_file, of_round in zip(medians, times):
                for kept, each in zip(of_file, of_round):
                    kept.append(statistics.median(each))
    finally:
        for backend in backends:
            backend.close()
    return medians


def render(report: Mapping[str, Any]) -> str:
    """The times as a Markdown table, a row for each model, runtime and form, and what follows for the export."""
    settings, cpu = report["settings"], report["machine"]["cpu"]
    side = settings["side"]
    lines = [
        f"Convolutions that read the same features made one, {side} x {side} view, {settings['rounds']} rounds "
        f"in turns ({cpu['model']}, {cpu['cores']} cores, load {cpu['load_1min']:.1f}):",
        "",
        "| model | made one | runtime | as exported [ms] | made one [ms] | ratio | of the rounds | of CPU time |",
        "|---|---|---|---:|---:|---:|---|---:|",
    ]
    for model in report["models"]:
        for row in model["rows"]:
            before, after = row["ms"]
            spread = f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}"
            lines.append(
                f"| {model['name']} | {row['form']} | {row['runtime']} | {before:.0f} | {after:.0f} | "
                f"{statistics.median(row['ratios']):.3f} | {spread} | {statistics.median(row['cpu_ratios']):.3f} |"
            )
    lines.append("")
    for model in report["models"]:
        made = {form: ", ".join(_counted(kinds)) or "none" for form, kinds in model["fused"].items()}
        lines.append(f"{model['name']}: " + "; ".join(f"{form}: {kinds}" for form, kinds in made.items()) + ".")
    return "\n".join([*lines, "", verdict(report)])


def _counted(kinds: Mapping[str, int]) -> list[str]:
    return [kind if count == 1 else f"{kind} ({count} times)" for kind, count in kinds.items()]


def verdict(report: Mapping[str, Any]) -> str:
    """Whether the exported graph keeps its form: it changes for a gain on some runtime and a loss on none."""
    said = []
    for form in FORMS:
        rows = [(model["name"], row) for model in report["models"] for row in model["rows"] if row["form"] == form]
        # Of both clocks the worse: a busy machine gives gains that the processor's time does not confirm.
        ratios = {
            f"{row['runtime']} ({name})": max(statistics.median(row[kind]) for kind in ("ratios", "cpu_ratios"))
            for name, row in rows
        }
        gains = [name for name, ratio in ratios.items() if ratio < 1 - NOISE]
        losses = [name for name, ratio in ratios.items() if ratio > 1 + NOISE]
        what = f"gains more than {NOISE:.0%} in {', '.join(gains) or 'none'} and loses as much in "
        worth = "worth doing in the export" if gains and not losses else "the exported graph keeps a convolution a map"
        said.append(f"{form.capitalize()}: {what}{', '.join(losses) or 'none'}; {worth}.")
    return "\n".join(said)


def main(arguments: Sequence[str]) -> int:
    """The command of the module's docstring."""
    return run_command(
        "cornernet.benchmarks.fused_convolutions", __doc__, measure, render, arguments, side=SIDE, rounds=3, runs=3
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
