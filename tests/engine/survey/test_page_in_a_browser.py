"""The page of a survey in a real browser, where there is one."""

import shutil
import subprocess

import cv2
import numpy as np
import pytest
from dataset_layouts import write_coco
from typer.testing import CliRunner

from cornernet.cli import app

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_the_page_shows_its_bars_and_its_pictures(tmp_path):
    report = tmp_path / "report"
    result = CliRunner().invoke(app, ["dataset", str(write_coco(tmp_path / "data")), "-o", str(report), "--size", "64"])
    assert result.exit_code == 0, result.output
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shot = tmp_path / "page.png"
    command = [BROWSER, *options, f"--screenshot={shot}", "--window-size=1300,2400", f"file://{report}/dataset.html"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "CONSOLE" not in done.stderr, done.stderr
    page = cv2.imread(str(shot)).reshape(-1, 3)
    bars = (page == (0xB5, 0x78, 0x4A)).all(axis=1)
    assert 2000 < bars.sum() < 200_000
    colours = len(np.unique(page // 16, axis=0))
    assert colours > 500  # the pictures are noise in every colour
