"""Write a model repository for NVIDIA's Triton Inference Server: pictures in, boxes out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cornernet.options import CanvasSize, Mirror, ProtocolName, ResizeRule, Threshold, parse_size, parse_threshold

EXAMPLES = """
cornernet triton model.onnx -o repository
# one canvas for all pictures, batches of up to 16 that wait at most 2 ms, two copies of the network
cornernet triton model.onnx -o repository --size 512x512 --max-batch 16 --delay 2 --instances 2
# an engine that carries its plugins
cornernet triton model.engine -o repository --threshold 0.3
"""


def run(
    model: Annotated[Path, typer.Argument(help=".onnx, or an .engine that needs no plugin library beside it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the repository.")],
    name: Annotated[str, typer.Option(help="What clients call the model.")] = "cornernet",
    max_batch: Annotated[
        int | None, typer.Option(min=1, help="Canvases at once. Default: 8; what it takes, for an engine.")
    ] = None,
    instances: Annotated[int, typer.Option(min=1, help="Copies of the network on each GPU.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read pictures and finish boxes.")] = 2,
    delay: Annotated[
        float, typer.Option(min=0, max=1000, help="How long the network's queue waits for more pictures [ms].")
    ] = 1.0,
    resize: ResizeRule = None,
    size: CanvasSize = None,
    protocol: ProtocolName = "default",
    mirror: Mirror = None,
    threshold: Threshold = None,
) -> None:
    """Write two models: NAME_network, the file as it is, and NAME, which reads pictures and gives final boxes.

    Both have their batching, instances and warm-up set; config.pbtxt may be edited. NAME runs the same code as
    `predict`, in the server's Python, which needs `cornernet` (without extras).
    """
    from cornernet.engine.printable import printable
    from cornernet.export.triton.triton_config import MARK
    from cornernet.export.triton.triton_repository import repository_files, write_repository
    from cornernet.outputs import anything, carries_card, check_outputs, json_starting_with

    files = repository_files(output, name, model)

    def ours(path: Path) -> bool:
        return path.read_bytes().startswith(MARK.encode())

    rules = {
        "network config": ours,
        "config": ours,
        "network": anything if files["network config"].is_file() else carries_card,
        "card": json_starting_with("format"),
    }
    check_outputs({path: rules.get(role, anything) for role, path in files.items()}, [model])
    settings: dict[str, Any] = {
        "resize": resize,
        "size": parse_size(size),
        "protocol": protocol,
        "mirror": mirror,
        "score_threshold": parse_threshold(threshold),
    }
    report = write_repository(
        model,
        output,
        name=name,
        max_batch=max_batch,
        instances=instances,
        workers=workers,
        delay_us=round(delay * 1000),
        settings=settings,
    )
    canvas = "each picture's own canvas" if report.canvas is None else "canvas {}x{}".format(*report.canvas)
    typer.echo(f"{printable(output)}: {report.boxes} and {report.network}, up to {report.max_batch} at once, {canvas}")
    words = ["tritonserver", f"--model-repository={printable(output)}", *report.options]
    typer.echo(f"next, where `cornernet` is in the server's Python: {' '.join(words)}")
