"""Pages that are made from code leave nothing of it out."""

import inspect
import re
import tomllib
from pathlib import Path

import pytest
import typer
from api_pages import api_page, contract_page, runtimes_page
from command_page import command_page
from configuration_page import configuration_page
from error_page import KINDS, error_page
from install_page import install_page
from site_links import problems_of

import cornernet
from cornernet.cli import VERBS, app
from cornernet.trainer.data.augment import AugmentConfig
from cornernet.trainer.loop.config import TrainConfig

ROOT = Path(__file__).parents[2]


def test_the_command_line_has_each_verb_with_its_options_and_examples():
    page, group = command_page(), typer.main.get_command(app)
    assert re.findall(r"^## cornernet (\w+)$", page, re.MULTILINE) == list(VERBS)
    commands = [*group.commands.values(), *group.commands["analyse"].commands.values()]
    options = {option for command in commands for one in command.params for option in one.opts if option[0] == "-"}
    missing = [option for option in options if not re.search(rf"[`, ]{re.escape(option)}[`, /]", page)]
    assert missing == []
    assert "cornernet predict model.onnx clip.mp4 -o clip_found.mp4" in page
    assert "\\[px]" in page and not re.search(r"\[/?(bold|dim)\]", page)


def test_the_errors_are_all_there_with_what_they_say():
    page = error_page()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(KINDS)
    assert all(inspect.getdoc(kind).split(".")[0].replace("_", "\\_") in page for kind in KINDS.values())
    assert page.count("\n* ") > 150
    assert "`engine/backends/device_arrays.py`" in page
    assert "* masked device arrays are not supported; fill the masked pixels first.\n" in page


def test_the_fields_of_the_configuration_are_those_that_are_checked():
    names = re.findall(r"^\| `([\w.]+)` \|", configuration_page(), re.MULTILINE)
    assert names == [*TrainConfig.model_fields, *(f"augment.{name}" for name in AugmentConfig.model_fields)]


def test_the_extras_are_those_of_the_package_with_the_words_beside_them():
    page = install_page()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(extras)
    assert "| `docs` |" in page and "| `make docs` |" in page
    assert "codecs under the GPL" in page


def test_the_python_pages_have_all_that_is_public_each_name_once():
    pages = api_page() + runtimes_page() + contract_page()
    names = re.findall(r"^::: (cornernet\.[\w.]+)$", pages, re.MULTILINE)
    assert len(names) == len(set(names)) > 20
    assert {name.rpartition(".")[2] for name in names} >= set(cornernet.__all__)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("A size [px], `found[0]`, [a link](x.md).", "A size \\[px], `found[0]`, [a link](x.md)."),
        ("boxes   (n, 4) [px]\nscores  (n,)", "    boxes   (n, 4) [px]\n    scores  (n,)"),
        (
            "every: one of so many\n  of them\nnewest: it [s]; None: no",
            "\n* `every`: one of so many\n    of them\n* `newest`: it \\[s]; None: no",
        ),
        ("First.\n\n    from x import y[0]", "First.\n\n    from x import y[0]"),
        ("Args:\n    size: of it [px]\n    two: more", "Args:\n    size: of it \\[px]\n    two: more"),
    ],
)
def test_the_layout_of_a_docstring_becomes_marks(written, shown):
    pytest.importorskip("griffe", reason="needs what makes the site: pip install '.[docs]'")
    from docstring_marks import marked

    assert marked(written) == shown


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('<a href="b.html#there">x</a> <a href="https://example.com">x</a> <img src="data:image/png;base64,">', None),
        ('<a href="nowhere.html">x</a>', "a.html: nowhere.html is not there"),
        ('<a href="b.html#gone">x</a>', "a.html: b.html#gone has no such anchor"),
        ('<a href="#gone">x</a>', "a.html: #gone has no such anchor"),
        ('<img src="gone.png">', "a.html: gone.png is not there"),
        ('<script src="https://example.com/x.js"></script>', "a.html: fetches https://example.com/x.js"),
        ('<link rel="stylesheet" href="//fonts.example.com/x">', "a.html: fetches //fonts.example.com/x"),
        ('<link rel="canonical" href="https://example.com/a">', None),
    ],
)
def test_a_link_that_leads_nowhere_or_elsewhere_is_found(tmp_path, body, words):
    (tmp_path / "a.html").write_text(f"<html><body>{body}</body></html>")
    (tmp_path / "b.html").write_text('<h2 id="there">b</h2>')
    assert problems_of(tmp_path) == ([words] if words else [])
