"""`make docs`: the documentation site into build/docs/site, from READMEs, docstrings, the command line and notebooks.

The site's tree is the repository's: each README lies where it lies here, with the files that it links, so links need no
rewriting and no text is there twice. Generated pages lie at the top; notebooks are run first. Exit code 1 if a link, an
anchor or a name in a docstring leads nowhere (zensical says which), or if a page would fetch anything from elsewhere.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from api_pages import api_page, contract_page, runtimes_page
from command_page import command_page
from configuration_page import configuration_page
from error_page import error_page
from install_page import install_page
from notebook_pages import write_notebook
from site_links import problems_of

ROOT = Path(__file__).resolve().parents[1]
READMES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "engine/serving/README.md",
    "plugins/README.md",
)
GENERATED = {
    "install.md": install_page,
    "configuration.md": configuration_page,
    "runtimes.md": runtimes_page,
    "commands.md": command_page,
    "api.md": api_page,
    "contract.md": contract_page,
    "errors.md": error_page,
}
NOTEBOOKS = ("train_on_your_data", "deploy_to_tensorrt_and_triton")


def write_pages(folder: Path) -> None:
    """All pages as Markdown, but for the notebooks."""
    for name in READMES:
        text = (ROOT / name).read_text(encoding="utf-8")
        _write(folder / name, text)
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            source = (ROOT / name).parent / link
            if source.is_file() and source.suffix != ".md":
                target = folder / Path(name).parent / link
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    for name, page in GENERATED.items():
        _write(folder / name, page())


def build(output: Path, *, run_notebooks: bool = True) -> list[str]:
    """The site into `output`/site; what is wrong with it, or nothing."""
    shutil.rmtree(output, ignore_errors=True)
    pages = output / "pages"
    write_pages(pages)
    for name in NOTEBOOKS:
        notebook = ROOT / "docs" / "notebooks" / f"{name}.ipynb"
        write_notebook(notebook, pages / "docs" / "notebooks", output / "runs" / name, run=run_notebooks)
    return render(output)


def render(output: Path) -> list[str]:
    """`output`/pages -> `output`/site; what is wrong with it, or nothing."""
    settings = (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8").replace("@ROOT@", ROOT.as_posix())
    _write(output / "zensical.toml", settings)
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=output, capture_output=True, text=True)
    if done.returncode:
        said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
        return [said.partition("Traceback (most recent call last)")[0].strip()]
    return problems_of(output / "site")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "docs")
    output = parser.parse_args().output
    problems = build(output)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(output / "site" / "index.html")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
