"""Paths as text that can be printed anywhere."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cornernet.engine.printable import printable


@pytest.mark.parametrize("name", ["a.jpg", "café/写真 1.png", r"C:\photos\new.png", "👩‍👩‍👧.gif", ""])
def test_an_ordinary_name_stays_as_it_is(name):
    assert printable(name) == name


def test_bytes_that_are_not_utf8_and_controls_are_escaped():
    assert printable(b"caf\xe9.jpg") == r"caf\xe9.jpg"
    assert printable(Path(os.fsdecode(b"caf\xe9.jpg"))) == r"caf\xe9.jpg"
    assert printable("a\nb\x1b[2J\0\ud800\u2028") == r"a\nb\x1b[2J\x00\ud800\u2028"


@given(st.text(st.characters(codec=None, categories=None)) | st.binary())
def test_anything_becomes_one_line_of_utf8(name):
    text = printable(name)
    assert len(text.encode().splitlines()) <= 1 and "\x1b" not in text
