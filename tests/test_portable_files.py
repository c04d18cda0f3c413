"""Text files are UTF-8 and pictures have any name on every system, not only where that is the default."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("cornernet", "engine", "export", "trainer", "plugins", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TEXT = {"read_text": 0, "write_text": 1}
"""Method of Path -> how many arguments it may have without an encoding."""


def calls(source: str) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def opens_text(call: ast.Call) -> bool:
    """`open("r")` of a path and `open(file, "r")`; not the `open` of others, which take no mode."""
    arguments = call.args if isinstance(call.func, ast.Attribute) else call.args[1:]
    mode = arguments[0].value if arguments and isinstance(arguments[0], ast.Constant) else None
    return name_of(call) == "open" and isinstance(mode, str) and set(mode) <= set("rwax+t")


def without_encoding(source: str) -> list[int]:
    """Lines that read or write text as the system likes."""
    return [
        call.lineno
        for call in calls(source)
        if (name_of(call) in TEXT and len(call.args) <= TEXT[name_of(call)] and isinstance(call.func, ast.Attribute))
        or opens_text(call)
        if not any(keyword.arg == "encoding" for keyword in call.keywords)
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("path.read_text()", True),
        ("path.write_text(text)", True),
        ("path.open('a')", True),
        ("open(path, 'w')", True),
        ("path.open('rb')", False),
        ("path.write_text(text, encoding='utf-8')", False),
        ("write_text(path, text)", False),
    ],
)
def test_text_without_an_encoding_is_seen(line, found):
    assert bool(without_encoding(line)) is found


def test_text_files_name_their_encoding():
    found = {str(path.relative_to(ROOT)): without_encoding(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_no_picture_is_written_or_read_by_name_through_opencv():
    # Neither takes a name beyond ASCII on Windows.
    users = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if {"imread", "imwrite"} & set(map(name_of, calls(path.read_text(encoding="utf-8"))))
    ]
    assert users == []
