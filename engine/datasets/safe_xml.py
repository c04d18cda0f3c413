"""XML from strangers: no document type, so no entities of its own, no external ones, and no expansion of either."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from cornernet.engine.arguments import shown_path
from cornernet.engine.errors import DatasetError

MOST_BYTES = 2**24


def read_xml(path: Path) -> Element:
    """The root element. Raises DatasetError: unreadable, above `MOST_BYTES`, no XML, or with a document type."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise DatasetError(f"{shown_path(path)}: expected a file of at most {MOST_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{shown_path(path)}: cannot be read: {error.strerror}") from error
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: an unknown encoding
        raise DatasetError(f"{shown_path(path)}: {error}; expected an XML file without a document type") from error


def _refuse(*declaration: object) -> None:
    raise ValueError("it declares a document type")
