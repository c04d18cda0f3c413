"""Export a checkpoint to one ONNX file: raw pictures in, boxes out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cornernet.engine.printable import printable
from cornernet.options import one_of

if TYPE_CHECKING:
    from rich.console import Console

    from cornernet.export.int8_export import Int8Report
    from cornernet.export.onnx_export import ExportReport
    from cornernet.export.parity import Parity

EXAMPLES = """
cornernet export runs/shapes/best.safetensors -o model.onnx
cornernet export best.safetensors -o model-fp16.onnx --precision fp16
# integers where they cost nothing, calibrated on a folder of pictures; AP before and after
cornernet export best.safetensors -o model-int8.onnx --precision int8 --calibrate photos
cornernet export best.safetensors -o model-int8.onnx --precision int8 --calibrate photos --data data/mine --split val
# canvases up to 2048 px, fewer rows
cornernet export best.safetensors -o model.onnx --max-size 2048 --num-dets 300
# standard operators only, for OpenVINO and others
cornernet export best.safetensors -o portable.onnx --inline
"""


def run(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors file of `train` or `import`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    precision: Annotated[
        str, typer.Option(callback=one_of("fp32", "fp16", "int8"), help="fp32, fp16 or int8.")
    ] = "fp32",
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Longest canvas side that the file accepts [px]; default: the card's.")
    ] = None,
    num_dets: Annotated[int | None, typer.Option(min=1, help="Rows of the output; default: the card's.")] = None,
    outputs: Annotated[
        str, typer.Option(callback=one_of("detections", "heads"), help="detections, or heads: the raw maps.")
    ] = "detections",
    inline: Annotated[bool, typer.Option("--inline", help="Standard operators only; excludes our plugins.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(help="int8: folder of pictures like those the model will see; a hundred are enough.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="int8: data set on which AP is measured before and after.")] = None,
    split: Annotated[str, typer.Option(help="int8: split of the data set.")] = "val",
    max_loss: Annotated[float, typer.Option(min=0, help="int8: AP that may be lost on the data set.")] = 0.005,
) -> None:
    """Write the ONNX file after comparing it with torch at several sizes; a file above tolerance is not left behind.

    int8: backbone and corner modules in integers, heads and decoder in float; the boxes of the float32 graph must be
    found again in the calibration pictures. Blocks that would cost too much stay in float, and are named.
    """
    from cornernet.outputs import carries_card, check_outputs
    from cornernet.terminal import make_console

    if output.suffix.lower() in (".engine", ".plan", ".safetensors"):
        raise typer.BadParameter(
            f"{output.name}: this writes ONNX; expected a name that ends in .onnx. An engine is built from it: "
            f"`cornernet build {output.stem}.onnx -o {output.name}`"
        )
    if precision == "int8" and (calibrate is None or outputs == "heads"):
        raise typer.BadParameter("--precision int8 needs --calibrate FOLDER, and --outputs detections")
    if precision != "int8" and (calibrate is not None or data is not None):
        raise typer.BadParameter("--calibrate and --data belong to --precision int8")
    check_outputs({output: carries_card}, [checkpoint])
    if calibrate is not None:
        _export_int8(checkpoint, output, calibrate, data, split, max_loss, max_size, num_dets, inline)
        return
    from cornernet.export.onnx_export import export_onnx
    from cornernet.trainer.network.checkpoint import load_checkpoint

    network, card = load_checkpoint(checkpoint)
    output.parent.mkdir(parents=True, exist_ok=True)
    console = make_console()
    with make_console(stderr=True).status("exporting, then comparing with torch"):
        report = export_onnx(
            network,
            card,
            output,
            precision=precision,  # type: ignore[arg-type]
            max_size=max_size,
            num_dets=num_dets,
            outputs=outputs,  # type: ignore[arg-type]
            inline=inline,
        )
    console.print(_written(report))
    _print_parity(console, report.parity)


def _export_int8(
    checkpoint: Path,
    output: Path,
    calibrate: Path,
    data: Path | None,
    split: str,
    max_loss: float,
    max_size: int | None,
    num_dets: int | None,
    inline: bool,
) -> None:
    from cornernet.engine.scoring.coco import load_coco
    from cornernet.export.int8_export import export_int8
    from cornernet.terminal import make_console
    from cornernet.trainer.network.checkpoint import load_checkpoint

    dataset = load_coco(data, split) if data is not None else None
    with make_console(stderr=True).status("reading the weights") as status:
        report = export_int8(
            *load_checkpoint(checkpoint),
            output,
            calibrate=calibrate,
            dataset=dataset,
            max_loss=max_loss,
            max_size=max_size,
            num_dets=num_dets,
            inline=inline,
            step=status.update,
        )
    console, found = make_console(), report.agreement
    console.print(_written(report))
    _print_parity(console, report.parity)
    console.print(
        f"  calibrated on {report.pictures} pictures; of float32's {found.boxes} confident boxes there, int8 finds "
        f"{found.found:.1%}; mean overlap {found.iou:.3f}"
    )
    console.print(f"  left in float: heads, decoder{''.join(f', {block}' for block in report.float_blocks)}")
    if report.ap is not None:
        before, after = report.ap
        console.print(f"  AP {before:.3f} in float32, {after:.3f} in int8")


def _written(report: "ExportReport | Int8Report") -> str:
    return f"{printable(report.path)}  {report.bytes / 1e6:.1f} MB, {report.nodes} nodes, {report.seconds:.1f} s"


def _print_parity(console: "Console", parity: "Parity") -> None:
    tried = ", ".join("x".join(map(str, canvas)) for canvas in parity.canvases)
    console.print(f"  compared with torch on images x height x width {tried}; largest differences:")
    width = max(map(len, parity.differences))
    for name, difference in parity.differences.items():
        console.print(f"  {name:<{width}} {difference.value:.1e}  (allowed {difference.tolerance:.0e})")
    if parity.boxes:
        console.print(f"  torch's confident boxes found again: {parity.boxes_found:.1%} of {parity.boxes}")
