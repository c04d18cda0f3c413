"""What can be installed, from pyproject.toml and the comments in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from cornernet.engine.installation import install

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def install_page() -> str:
    """The command, and a row for each extra."""
    text = PYPROJECT.read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    rows = ["| extra | brings | |", "|---|---|---|"]
    for name, packages in extras.items():
        rows.append(f"| `{name}` | {', '.join(f'`{package}`' for package in packages)} | {_comment(text, name)} |")
    needs = ", ".join(f"`{package}`" for package in tomllib.loads(text)["project"]["dependencies"])
    command = install("EXTRA,EXTRA").partition("'")[2].partition("'")[0]
    return "\n\n".join(
        [
            "# Install",
            f"```bash\npip install '{command}'\ncornernet doctor\n```",
            f"Without any extra: {needs}. `cornernet doctor` says what is there, what really works and how to get the "
            "rest.",
            "\n".join(rows),
        ]
    )


def _comment(text: str, extra: str) -> str:
    """The comment above an extra."""
    lines = re.search(rf"((?:^# .*\n)*)^{extra} = \[", text, re.MULTILINE)
    assert lines is not None, extra
    return " ".join(line.removeprefix("# ") for line in lines[1].splitlines()).replace("|", "\\|")
