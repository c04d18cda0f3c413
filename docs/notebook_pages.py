"""Notebooks as pages: run from the top in a folder of their own, then Markdown with what they showed."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

SECONDS_PER_CELL = 300


def executed(notebook: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run in `folder`. Raises nbclient's CellExecutionError."""
    book = nbformat.read(notebook, as_version=4)
    folder.mkdir(parents=True, exist_ok=True)
    place = {"metadata": {"path": str(folder.resolve())}}
    return NotebookClient(book, kernel_name="python3", timeout=SECONDS_PER_CELL, resources=place).execute()


def write_notebook(notebook: Path, pages: Path, folder: Path, *, run: bool = True) -> None:
    """`notebook` as a page in `pages`, its pictures beside it."""
    book = executed(notebook, folder) if run else nbformat.read(notebook, as_version=4)
    text, resources = MarkdownExporter().from_notebook_node(book, {"output_files_dir": f"{notebook.stem}_files"})
    files = {f"{notebook.stem}.md": text.replace(".ipynb)", ".md)").encode(), **resources["outputs"]}
    for name, content in files.items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_bytes(content)
