"""What messages and docstrings tell a user to type exists: the verbs of `cornernet`, and every option of theirs."""

import ast
import re
from collections.abc import Iterator

import pytest
import typer
from test_architecture import ROOT, SOURCES, name_of

from cornernet.cli import app

GROUP = typer.main.get_command(app)
OTHER_PROGRAMS = {
    "--build": "cmake",
    "--force-reinstall": "pip",
    "--no-deps": "pip",
    "--nproc-per-node": "torchrun",
    "--shm-size": "docker",
    "--help": "each verb",
    "--format": "nvidia-smi",
    "--query-gpu": "nvidia-smi",
    "--no-as-needed": "the linker",
    "--logdir": "tensorboard",
    "--model-repository": "tritonserver",
    "--backend-config": "tritonserver",
}


def texts(tree: ast.AST) -> Iterator[str]:
    """The strings of a file, docstrings too, in one piece each; `...` where an f-string puts a value."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


TEXTS = [(name_of(path), text) for path in SOURCES for text in texts(ast.parse(path.read_text(encoding="utf-8")))]


def options_of(command) -> set[str]:
    own = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*(options_of(inner) for inner in getattr(command, "commands", {}).values()))


def unknown_words(command_line: str) -> list[str]:
    """Verbs and options of `cornernet ...` that do not exist."""
    command, words = GROUP, command_line.split()[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        verb = words.pop(0)
        if verb not in command.commands:
            return [verb]
        command = command.commands[verb]
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [word for word in given if word not in {*options_of(command), "--help"}]


def test_each_command_in_a_message_or_docstring_exists_with_its_options():
    commands = [(path, line) for path, text in TEXTS for line in re.findall(r"`(cornernet [a-z-][^`]*)`", text)]
    assert len(commands) > 10
    assert [(path, line, wrong) for path, line in commands if (wrong := unknown_words(line))] == []


@pytest.mark.parametrize("folder", ["engine", "trainer", "export", "plugins", "cornernet"])
def test_each_option_that_a_text_of_the_product_names_is_one(folder):
    known = options_of(GROUP) | OTHER_PROGRAMS.keys()
    named = [
        (path, option)
        for path, text in TEXTS
        if path.startswith(f"{folder}/")
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9](?![\w-])", re.sub(r"--[^-]+-->", "", text))
    ]
    assert [(path, option) for path, option in named if option not in known] == []


def test_each_file_that_a_text_names_by_its_path_exists():
    pattern = r"(?<![\w/.-])((?:engine|trainer|export|plugins|benchmarks|tests)/[\w./-]+\.(?:py|md|toml|cu|h|cpp))\b"
    named = [(path, name) for path, text in TEXTS for name in re.findall(pattern, text) if "..." not in name]
    assert [(path, name) for path, name in named if not (ROOT / name).exists()] == []
