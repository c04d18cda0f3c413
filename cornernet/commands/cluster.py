"""Find objects in a bucket, folder or table of pictures on many machines (Ray), into Parquet files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cornernet.options import (
    BatchSize,
    CanvasSize,
    Mirror,
    ProtocolName,
    ResizeRule,
    Threshold,
    parse_size,
    parse_threshold,
)

EXAMPLES = """
cornernet cluster model.onnx photos -o found --workers 2
# every GPU of a Ray cluster; run again, it goes on with what has no row yet
cornernet cluster model.engine s3://bucket/photos -o s3://bucket/found --gpus 1 --address auto
# a table of paths
cornernet cluster model.onnx table.parquet --column file -o found
"""


def run(
    model: Annotated[Path, typer.Argument(help=".onnx or .engine, at this path on every machine.")],
    source: Annotated[
        str, typer.Argument(help="Folder, bucket (s3://, gs://, ...) or Parquet table of paths; sub-folders too.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder or bucket for the Parquet files.")],
    column: Annotated[str, typer.Option(help="Column of the table that holds the paths.")] = "path",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Detectors at once. Default: as many as there is room for.")
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each worker; 0.5: two workers share one.")] = 0.0,
    cpus: Annotated[int, typer.Option(min=1, help="Cores of each worker.")] = 1,
    batch_size: BatchSize = 8,
    part_size: Annotated[
        int, typer.Option(min=1, help="Pictures of one file: what is done again if a worker falls.")
    ] = 256,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, such as 'auto'. Default: RAY_ADDRESS, else this machine alone.")
    ] = None,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Do those again that have an error in their row.")
    ] = False,
    resize: ResizeRule = None,
    size: CanvasSize = None,
    protocol: ProtocolName = "default",
    mirror: Mirror = None,
    threshold: Threshold = None,
) -> None:
    """Write a row per picture: path, width, height, error, boxes, scores, labels, names.

    The same command again does what has no row yet. A worker that falls is replaced; nothing is lost or there twice.
    """
    from cornernet.engine.cluster.ray_job import PartDone, predict_on_cluster
    from cornernet.engine.printable import printable
    from cornernet.options import progress_bars

    settings: dict[str, Any] = {"resize": resize, "size": parse_size(size), "protocol": protocol, "mirror": mirror}
    with progress_bars() as bars:
        task = bars.add_task("pictures", total=None)

        def advance(part: PartDone) -> None:
            bars.update(task, advance=part.pictures, total=part.of)

        report = predict_on_cluster(
            model,
            source,
            output,
            column=column,
            workers=workers,
            num_gpus=gpus,
            num_cpus=cpus,
            batch_size=batch_size,
            part_size=part_size,
            address=address,
            retry_errors=retry_errors,
            progress=advance,
            score_threshold=parse_threshold(threshold),
            **settings,
        )
    new = report.pictures - report.before
    found = f"{new} pictures, {report.failed} of them with an error; {report.before} were done before"
    typer.echo(f"{found} -> {printable(output)}", err=True)
