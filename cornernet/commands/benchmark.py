"""Measure latency by stage, cold start and accuracy of models side by side."""

from pathlib import Path
from typing import Annotated

import typer

from cornernet.engine.printable import printable
from cornernet.options import PRECISIONS, RUNTIMES, parse_numbers, parse_size, parse_words, progress_bars

EXAMPLES = """
cornernet benchmark model.onnx
# side by side: the torch reference, float32 and float16
cornernet benchmark best.safetensors model.onnx model-fp16.onnx --batch 1,8
# whether pictures are read fast enough for an accelerator
cornernet benchmark model.onnx --pipeline
# one file in every runtime and precision of a CPU
cornernet benchmark model.onnx --runtime onnxruntime,openvino --precision fp32,bf16
# your own pictures, and AP in the same rows, of the same files
cornernet benchmark model.onnx --images photos --data data/shapes --split val
"""


def run(
    models: Annotated[list[Path], typer.Argument(help="Model files; the others are compared with the first.")],
    images: Annotated[Path | None, typer.Option(help="Folder of pictures; default: generated ones, 640x480.")] = None,
    batch: Annotated[str, typer.Option(help="Batch sizes.")] = "1,2,4,8",
    data: Annotated[Path | None, typer.Option(help="Data set: adds AP and AP50, measured on the same files.")] = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "val",
    size: Annotated[str | None, typer.Option(help="Canvas, HEIGHTxWIDTH [px]; default the training size.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Batches of each size that are timed.")] = 20,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of one operator.")] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Runtimes of .onnx files, with commas between them, each a row: see `predict`.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precisions of .onnx files, likewise; onnxruntime has no bf16 and is left out.")
    ] = None,
    torch_compile: Annotated[
        bool, typer.Option("--torch-compile", help="Measure checkpoints through torch.compile too.")
    ] = False,
    cold_start: Annotated[bool, typer.Option(help="Time a fresh process too.")] = True,
    pipeline: Annotated[
        bool, typer.Option("--pipeline", help="How busy this machine keeps a simulated accelerator, about a minute.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for benchmark.json and benchmark.png.")] = Path(
        "benchmark"
    ),
) -> None:
    """Time per image, p50, p90, p99, by stage: read, place on the canvas, run the model, post-process.

    All models see the same pictures on the same canvas, in turns, so the ratios hold on a noisy machine too. Warm-up
    and cold start are apart.
    """
    from cornernet.benchmarks.latency.benchmark import Steps, run_benchmark
    from cornernet.benchmarks.latency.latency_chart import draw_chart
    from cornernet.engine.datasets.layouts import load_dataset
    from cornernet.outputs import check_outputs, json_starting_with, marked_picture
    from cornernet.terminal import make_console

    pairs = [
        (one, other)
        for one in parse_words(runtime, RUNTIMES, "runtime")
        for other in parse_words(precision, PRECISIONS, "precision")
        if (one, other) != ("onnxruntime", "bf16")
    ]
    if not pairs:
        raise typer.BadParameter("onnxruntime does not compute in bf16: add --runtime openvino")
    table, chart = output / "benchmark.json", output / "benchmark.png"
    shown = sorted(images.iterdir()) if images is not None and images.is_dir() else []
    check_outputs({table: json_starting_with("machine"), chart: marked_picture}, [*models, *shown])
    dataset = load_dataset(data, split) if data is not None else None
    with progress_bars() as bars:
        task = bars.add_task("opening", total=None)
        report = run_benchmark(
            models,
            images=images,
            batches=parse_numbers(batch, int, "batch"),
            size=parse_size(size),
            repeats=repeats,
            dataset=dataset,
            cold_start=cold_start,
            threads=threads,
            torch_compile=torch_compile,
            runtimes=pairs,  # type: ignore[arg-type]
            pipeline=pipeline,
            steps=Steps(
                start=lambda what, count: bars.reset(task, description=what, total=count),
                step=lambda: bars.advance(task),
            ),
        )
    output.mkdir(parents=True, exist_ok=True)
    replaced = " (in place of an earlier one)" if table.exists() else ""
    report.print(make_console())
    report.write(table)
    draw_chart(report, chart)
    typer.echo(f"-> {printable(table)}, {printable(chart)}{replaced}")
