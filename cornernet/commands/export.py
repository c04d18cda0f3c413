"""Export a checkpoint to one ONNX file: raw pictures in, boxes out."""

from pathlib import Path
from typing import Annotated

import typer

from cornernet.engine.printable import printable
from cornernet.options import one_of

EXAMPLES = """
cornernet export runs/shapes/best.safetensors -o model.onnx
cornernet export best.safetensors -o model-fp16.onnx --precision fp16
# canvases up to 2048 px, fewer rows
cornernet export best.safetensors -o model.onnx --max-size 2048 --num-dets 300
# standard operators only, for OpenVINO and others
cornernet export best.safetensors -o portable.onnx --inline
"""


def run(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors file of `train` or `import`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    precision: Annotated[str, typer.Option(callback=one_of("fp32", "fp16"), help="fp32 or fp16.")] = "fp32",
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Longest canvas side that the file accepts [px]; default: the card's.")
    ] = None,
    num_dets: Annotated[int | None, typer.Option(min=1, help="Rows of the output; default: the card's.")] = None,
    outputs: Annotated[
        str, typer.Option(callback=one_of("detections", "heads"), help="detections, or heads: the raw maps.")
    ] = "detections",
    inline: Annotated[bool, typer.Option("--inline", help="Standard operators only; excludes our plugins.")] = False,
) -> None:
    """Write the ONNX file after comparing it with torch at several sizes; a file above tolerance is not left behind."""
    from cornernet.outputs import carries_card, check_outputs
    from cornernet.terminal import make_console

    check_outputs({output: carries_card}, [checkpoint])
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
    parity = report.parity
    tried = ", ".join("x".join(map(str, canvas)) for canvas in parity.canvases)
    console.print(
        f"{printable(report.path)}  {report.bytes / 1e6:.1f} MB, {report.nodes} nodes, {report.seconds:.1f} s"
    )
    console.print(f"  compared with torch on images x height x width {tried}; largest differences:")
    for name, difference in parity.differences.items():
        console.print(f"  {name:<16} {difference.value:.1e}  (allowed {difference.tolerance:.0e})")
    if parity.boxes:
        console.print(f"  torch's confident boxes found again: {parity.boxes_found:.1%} of {parity.boxes}")
