"""The command line, from the very objects that parse it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

import typer

from cornernet.cli import VERBS, app


def command_page() -> str:
    """A section for each verb: what it does, how it is called, arguments, options, examples."""
    group = typer.main.get_command(app)
    parts = ["# Command line", _plain(group.help)]
    for verb in VERBS:
        command = group.commands[verb]  # type: ignore[attr-defined]
        module = importlib.import_module(f"cornernet.commands.{verb}")
        parts += _section(command, f"cornernet {verb}", "##")
        for name, inner in getattr(command, "commands", {}).items():
            parts += _section(inner, f"cornernet {verb} {name}", "###")
        parts += ["**Examples**", f"```bash\n{module.EXAMPLES.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _section(command: Any, name: str, heading: str) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield f"{heading} {name}"
    yield _plain(command.help)
    yield f"```text\n{name} {' '.join(command.collect_usage_pieces(context))}\n```"
    rows = [parameter.get_help_record(context) for parameter in command.params if parameter.name != "help"]
    if rows := [row for row in rows if row]:
        yield "\n".join(
            ["| argument or option | |", "|---|---|", *(f"| `{names}` | {_cell(text)} |" for names, text in rows)]
        )


def _plain(text: str | None) -> str:
    """Without the marks for a terminal; what looks like a link is none."""
    return _unlinked(re.sub(r"\[/?bold\]", "`", (text or "").replace("\\[", "["))).replace("<", "&lt;")


def _cell(text: str) -> str:
    return _plain(" ".join(text.split())).replace("|", "\\|").replace("*", "\\*")


def _unlinked(text: str) -> str:
    return text.replace("[", "\\[")
