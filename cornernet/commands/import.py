"""Import weights of CornerNet, CornerNet-Lite or mmdetection."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
cornernet import CornerNet_500000.pkl -o cornernet.safetensors
cornernet import CornerNet_Squeeze_500000.pkl -o squeeze.safetensors
# trained on three classes of your own
cornernet import mine.pkl -o mine.safetensors --classes cat,dog,mouse
"""


def run(
    file: Annotated[Path, typer.Argument(help="Weight file: .pkl, .pth, .pt or .safetensors. Nothing in it is run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.")],
    classes: Annotated[str | None, typer.Option(help="Class names, with commas between, in the heads' order.")] = None,
) -> None:
    """Recognise the file by its keys and shapes, and write a checkpoint with the model card its boxes need.

    The card holds the project's colour order, mean, padding and decoder, so the exported model gives the original's
    boxes.
    """
    from cornernet.engine.errors import ModelError
    from cornernet.engine.printable import printable
    from cornernet.outputs import carries_card, check_outputs

    check_outputs({output: carries_card}, [file])
    from cornernet.trainer.import_weights import import_checkpoint
    from cornernet.trainer.network.checkpoint import save_checkpoint

    network, card = import_checkpoint(file)
    if classes is not None:
        names = tuple(name.strip() for name in classes.split(","))
        if len(names) != len(card.class_names):
            raise ModelError(
                f"--classes: {len(names)} names, but {file} was trained on {len(card.class_names)} classes."
            )
        card = card.model_copy(update={"class_names": names})
    save_checkpoint(output, network, card)
    typer.echo(f"{card.source}: {card.name}, {len(card.class_names)} classes -> {printable(output)}")
    typer.echo(f"next: cornernet export {printable(output)} -o {printable(output.with_suffix('.onnx'))}")
