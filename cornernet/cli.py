"""The `cornernet` command: finds the verbs in `cornernet/commands`, turns expected errors into one line.

Exit codes: 0 done, 1 it failed (one line on stderr says why), 2 wrong usage, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from cornernet.engine.errors import CornerNetError
from cornernet.engine.installation import EXTRA_OF_PACKAGE, install
from cornernet.engine.printable import printable
from cornernet.terminal import prepare_streams

VERBS = (
    "quickstart",
    "shapes",
    "dataset",
    "convert",
    "train",
    "import",
    "export",
    "build",
    "triton",
    "predict",
    "cluster",
    "evaluate",
    "benchmark",
    "analyse",
    "report",
    "info",
    "doctor",
)
"""In the order of the work. A verb is offered if its module exists."""


UsageError: Any = typer.BadParameter.__base__
"""Of the click that typer brings: newer ones have it inside."""

ELSEWHERE = {
    "--threshold": ("conf", "conf-thres", "conf-threshold", "confidence", "score-thr", "score-threshold", "thresh"),
    "--size": ("imgsz", "img-size", "image-size", "input-size", "resolution"),
    "--batch-size": ("batch", "bs"),
    "--output": ("out", "out-dir", "output-dir", "save-dir", "project"),
    "--save yolo": ("save-txt",),
    "--save crops": ("save-crop", "save-crops"),
    "--save csv": ("save-csv",),
    "--every": ("vid-stride", "frame-skip"),
    "--classes": ("class", "filter-class"),
    "--learning-rate": ("lr", "lr0"),
    "--device": ("gpu", "cuda", "gpus"),
}
"""An option of ours, and what others call it."""

WITHOUT = {
    ("source", "input", "images", "img", "image"): "pictures stand behind the model, without an option",
    ("weights", "model", "checkpoint", "engine"): "the model stands first, without an option",
    ("iou", "iou-thres", "nms"): "overlapping boxes are weakened by soft-NMS, which has no threshold",
}


def _name_the_own_option(error: Any) -> None:
    """Into the message about an option that others have: what it is called here."""
    given = getattr(error, "option_name", None)
    if given is None or error.ctx is None:
        return
    word = str(given).lstrip("-").replace("_", "-")
    options = {option for parameter in error.ctx.command.params for option in parameter.opts}
    for ours, theirs in ELSEWHERE.items():
        if word in theirs and ours.split()[0] in options:
            error.message, error.possibilities = f"No such option: {given}. Here it is called {ours}", None
    for theirs, why in WITHOUT.items():
        if word in theirs and f"--{word}" not in options:
            error.message, error.possibilities = f"No such option: {given}: {why}", None


class _Verbs(TyperGroup):
    """The group of verbs; the one place where exceptions become exit codes."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        prepare_streams()
        return super().main(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("interrupted")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # `cornernet info x | head`: the reader has gone; give the interpreter nothing to flush at exit.
            if sys.stdout is not None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except UsageError as error:
            _name_the_own_option(error)
            raise
        except (CornerNetError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            _say(_one_line(error))
            raise typer.Exit(1) from None
        except ModuleNotFoundError as error:
            extra = EXTRA_OF_PACKAGE.get((error.name or "").partition(".")[0])
            if extra is None or ctx.params.get("debug"):
                raise
            _say(f"this needs the package '{error.name}', which is not installed: {install(extra)}")
            raise typer.Exit(1) from None


def _one_line(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        name = error.filename2 or error.filename
        text = f"{printable(os.fsdecode(name))}: {error.strerror}" if isinstance(name, str | bytes) else error.strerror
        if error.errno == errno.ENOSPC:
            text += ". What was finished before stays; free some disk space, then run the same again"
    return " ".join(text.split())


def _say(message: str) -> None:
    """One red line on stderr (colour only where the terminal has it)."""
    typer.secho(f"cornernet: {message}", fg=typer.colors.RED, err=True)


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"cornernet {version('cornernet')}")
        raise typer.Exit()


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an expected error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """CornerNet as an inference engine: train or import weights, export to ONNX, predict in batches, benchmark.

    Start with [bold]cornernet quickstart[/bold], or [bold]cornernet doctor[/bold] to see what this machine can run.
    """


class _Verb(TyperCommand):
    """A verb whose help texts are shown as they are: `[px]` is a unit here, and no markup."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.help = _unmarked(self.help)
        for parameter in self.params:
            if getattr(parameter, "help", None):
                parameter.help = _unmarked(parameter.help)  # type: ignore[attr-defined]


def _unmarked(text: str | None) -> str | None:
    return text.replace("[", r"\[") if text else text


def _epilog(examples: str) -> str:
    """Examples as a block whose lines stay lines: a blank line between paragraphs is what rich help keeps."""
    lines = [line for line in examples.strip().splitlines() if line.strip()]
    shown = [f"[dim]{line}[/dim]" if line.startswith("#") else line.replace("[", r"\[") for line in lines]
    return "\n\n".join(["[bold]Examples[/bold]", *shown])


def _register() -> None:
    for verb in VERBS:
        name = f"cornernet.commands.{verb}"
        if importlib.util.find_spec(name) is None:
            continue
        module = importlib.import_module(name)
        summary = (module.__doc__ or "").strip().partition("\n")[0]  # none under python -OO
        if hasattr(module, "app"):  # a verb with verbs of its own
            for command in module.app.registered_commands:
                command.cls = _Verb
            app.add_typer(module.app, name=verb, short_help=summary, epilog=_epilog(module.EXAMPLES))
            continue
        app.command(verb, cls=_Verb, short_help=summary, epilog=_epilog(module.EXAMPLES))(module.run)


_register()
