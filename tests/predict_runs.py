"""Runs of the command line, and what predict left."""

import json

from typer.testing import CliRunner

from cornernet.cli import app

BOX = (10, 20, 60, 90)
"""Where the bright rectangle of the pictures is, x1 y1 x2 y2 [px]."""


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})


def done(*words):
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
