"""A figure as an element of a page: readable on dark paper, the same each time, with nothing in it that names start."""

import re
from xml.etree import ElementTree

import pytest

from cornernet.benchmarks.figures import plain_text, subplots, to_svg


def drawn(label="a line", name="plain") -> str:
    with plain_text():
        figure, axes = subplots(figsize=(3, 2))
        axes.plot([0, 1, 2], [0, 3, 1], color="#333333", marker="o")
        axes.grid(color="#dddddd")
        axes.set_title(name)
        return to_svg(figure, label)


def test_greys_are_the_page_s_and_what_is_referred_to_is_there():
    svg = drawn()
    assert svg.startswith("<svg") and svg.endswith("</svg>") and svg == drawn()
    assert "var(--ink)" in svg and "var(--rule)" in svg and not re.search("#(000000|333333|dddddd)", svg)
    ids = set(re.findall(r' id="([^"]+)"', svg))
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    assert referred and referred <= ids
    assert not [name for name in ids if re.fullmatch(r"\w+_\d+", name)]


@pytest.mark.parametrize("name", ["$\\frac{", "--><script>x</script>", "<&>", "_under"])
def test_a_name_is_text_whatever_is_in_it(name):
    svg = drawn(label=f'"{name}"', name=name)
    root = ElementTree.fromstring(svg)
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert name in texts and root.get("aria-label") == f'"{name}"'
    assert "<script" not in svg
