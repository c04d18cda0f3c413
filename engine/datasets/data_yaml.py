"""YOLO's data.yaml: the names of the classes, and where the pictures of each split are.

Every value is read as text: YAML's own rules would make a class called `no` a False. Nothing in the file is run or
fetched: `download` is left alone, and tags that would make Python objects mean nothing here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cornernet.engine.arguments import shown, shown_path
from cornernet.engine.datasets.layout import text_of
from cornernet.engine.errors import DatasetError
from cornernet.engine.installation import missing
from cornernet.engine.printable import printable

SPLITS = ("train", "val", "valid", "validation", "test")
MOST_BYTES = 2**20
_KEY = re.compile(r"^(names|train):", re.MULTILINE)
_USUAL = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")


@dataclass(frozen=True)
class DataYaml:
    """names: of the classes, by their number. splits: what stands under each, paths as they are written."""

    file: Path
    base: Path
    names: tuple[str, ...]
    splits: dict[str, list[str]]


def find_yaml(root: Path) -> Path | None:
    """The file itself, the one with a usual name, or the only one in the folder that speaks of names and pictures."""
    if root.suffix.lower() in (".yaml", ".yml") and root.is_file():
        return root
    usual = [root / name for name in _USUAL if (root / name).is_file()]
    if usual:
        return usual[0]
    others = sorted(path for suffix in ("yaml", "yml") for path in root.glob(f"*.{suffix}") if path.is_file())
    speaking = [path for path in others if _speaks(path)]
    return speaking[0] if len(speaking) == 1 else None


def read_yaml(file: Path) -> DataYaml:
    """Raises DatasetError: unreadable, too large, no YAML, no names, no splits. BackendError: no YAML reader."""
    content = _parse(file)
    if not isinstance(content, dict):
        raise DatasetError(f"{shown_path(file)}: expected lines such as `names: [cat, dog]` and `train: images/train`")
    splits = {split: _paths(file, split, content[split]) for split in SPLITS if content.get(split)}
    if not splits:
        raise DatasetError(f"{shown_path(file)}: expected `train:` and `val:`, folders of pictures; there is neither")
    path = content.get("path")
    base = file.parent / path if isinstance(path, str) and path else file.parent
    # The path of the machine that wrote the file, where it is not there: beside the file.
    return DataYaml(file, base if base.is_dir() else file.parent, _names(file, content.get("names")), splits)


def _parse(file: Path) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise missing("yaml", f"reading {printable(file.name)}") from error
    try:
        return yaml.load(text_of(file, MOST_BYTES), Loader=yaml.BaseLoader)  # text, lists and dicts only
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        why = " ".join(str(error).split())[:200]
        raise DatasetError(f"{shown_path(file)}: cannot be read as YAML: {printable(why)}") from error


def _names(file: Path, given: Any) -> tuple[str, ...]:
    """A list, or a dict of numbers from 0 to names."""
    found = given
    if isinstance(given, dict):
        numbered = {int(key): value for key, value in given.items() if isinstance(key, str) and key.isdecimal()}
        found = [numbered.get(number) for number in range(len(given))]
    if not isinstance(found, list) or not found or not all(isinstance(name, str) for name in found):
        raise DatasetError(
            f"{shown_path(file)}: names is {shown(given)}; expected a list such as [cat, dog], "
            "or a dict of numbers from 0 to names"
        )
    return tuple(printable(name) for name in found)


def _paths(file: Path, split: str, given: Any) -> list[str]:
    found = given if isinstance(given, list) else [given]
    if not all(isinstance(path, str) and path for path in found):
        raise DatasetError(f"{shown_path(file)}: {split} is {shown(given)}; expected a folder, a .txt file, or a list")
    return found


def _speaks(file: Path) -> bool:
    try:
        return {"names", "train"} <= set(_KEY.findall(text_of(file, MOST_BYTES)))
    except DatasetError:
        return False
