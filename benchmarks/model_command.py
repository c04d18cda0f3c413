"""The command of a benchmark of model files: its arguments, its report as JSON and as a table, errors as a sentence."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cornernet.engine.errors import CornerNetError
from cornernet.engine.whole_file import write_text_whole


def run_command(
    module: str,
    description: str | None,
    measure: Callable[..., dict[str, Any]],
    render: Callable[[Mapping[str, Any]], str],
    arguments: Sequence[str],
    **numbers: int,
) -> int:
    """`python -m MODULE MODEL... [--json FILE]`, and a number with its default as each further option of `measure`.

    Exit code 1, with a sentence, if something cannot be measured or written.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("models", nargs="+")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    try:
        report = measure(given.models, **{name: getattr(given, name) for name in numbers})
        if given.json is not None:
            write_text_whole(given.json, json.dumps(report, indent=1) + "\n")
    except (CornerNetError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(render(report))
    return 0
