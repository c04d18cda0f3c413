"""Detections as a notebook shows them: a line, the drawn picture where it is at hand, a table."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from cornernet.engine.results.picture_file import encode_picture

if TYPE_CHECKING:
    from cornernet.engine.results.detections import Detections

ROWS = 20
SIDE_PX = 640
"""A drawn picture is made no larger than this; a notebook holds it as text."""


def as_html(found: Detections) -> str:
    """Self-contained; everything that comes from outside is escaped."""
    parts = [f"<p><b>{html.escape(found.summary)}</b> {html.escape(found.path or '')}</p>"]
    if found.image is not None:
        drawn = found.draw()
        scale = min(1.0, SIDE_PX / max(drawn.shape[:2]))
        if scale < 1:
            drawn = cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        data = base64.b64encode(encode_picture(drawn, Path("picture.jpg"))).decode()
        parts.append(f'<img src="data:image/jpeg;base64,{data}">')
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{score:.2f}</td>"
        + "".join(f"<td>{side:.0f}</td>" for side in box.tolist())
        + "</tr>"
        for box, score, _, name in list(found)[:ROWS]
    ]
    if rows:
        head = "".join(f"<th>{word}</th>" for word in ("name", "score", "x1", "y1", "x2", "y2"))
        more = f"<p>and {len(found) - ROWS} more</p>" if len(found) > ROWS else ""
        parts.append(f"<table><tr>{head}</tr>{''.join(rows)}</table>{more}")
    return "".join(parts)
