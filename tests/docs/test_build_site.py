"""The site is built whole, its notebooks run, its links lead somewhere; the committed notebooks hold no outputs."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from test_documents import PAGES

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def build_site():
    for package in ("nbconvert", "ipykernel", "mkdocstrings"):
        pytest.importorskip(package, reason="needs what makes the site: pip install '.[docs]'")
    if shutil.which("zensical", path=Path(sys.executable).parent) is None:
        pytest.skip("needs what makes the site: pip install '.[docs]'")
    import build_site

    return build_site


@pytest.fixture(scope="module")
def built(build_site, tmp_path_factory):
    output = tmp_path_factory.mktemp("docs")
    assert build_site.build(output) == []
    return output


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_holds_no_outputs(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 3
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)


def test_every_readme_and_notebook_is_a_page(build_site):
    assert {*PAGES} <= {ROOT / name for name in build_site.READMES}
    assert sorted(build_site.NOTEBOOKS) == [notebook.stem for notebook in NOTEBOOKS]


@pytest.mark.slow
def test_the_notebook_on_training_ends_with_boxes_drawn_in_the_page(built):
    page = (built / "pages/docs/notebooks/train_on_your_data.md").read_text(encoding="utf-8")
    assert re.search(r"16 steps, AP \d\.\d{3} on pictures", page)
    assert '<img src="data:image/jpeg;base64,' in page and re.search(r"<b>[1-9]\d* objects: ", page)
    (losses,) = (built / "pages/docs/notebooks/train_on_your_data_files").glob("*.png")
    assert losses.stat().st_size > 5000
    assert (built / "runs/train_on_your_data/model.onnx").is_file()


@pytest.mark.slow
def test_the_notebook_on_deployment_shows_the_plan_or_what_is_missing_and_reads_the_configuration(built):
    page = (built / "pages/docs/notebooks/deploy_to_tensorrt_and_triton.md").read_text(encoding="utf-8")
    assert re.search(r"^    tensorrt\w* [\d.]+, [\d.]+ MB, profile ", page, re.MULTILINE) or "pip install" in page
    assert re.search(r"^    cornernet python \['boxes', ", page, re.MULTILINE) or "'.[triton]'" in page
    assert 'name: "cornernet"' in page and "no server: TRITON is not set" in page


@pytest.mark.slow
def test_the_site_has_every_page_and_fetches_nothing_from_elsewhere(built, build_site):
    site = built / "site"
    for name in (*build_site.READMES, *build_site.GENERATED, *(f"docs/notebooks/{n}.md" for n in build_site.NOTEBOOKS)):
        page = site / name.replace("README.md", "index.html").replace(".md", ".html")
        assert "<article" in page.read_text(encoding="utf-8"), name
    api = (site / "api.html").read_text(encoding="utf-8")
    assert 'id="cornernet.engine.detector.Detector.predict"' in api and "[px]" in api
    assert not list(site.rglob("*.woff2"))


@pytest.mark.slow
def test_broken_links_fail_the_build(build_site, tmp_path, monkeypatch):
    settings = (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8")
    (tmp_path / "root" / "docs").mkdir(parents=True)
    alone = re.sub(r"^nav = \[.*?^\]$", "", settings, flags=re.DOTALL | re.MULTILINE)
    marks = f"{ROOT.as_posix()}/docs/docstring_marks.py"
    (tmp_path / "root/docs/zensical.toml").write_text(alone.replace("@ROOT@/docs/docstring_marks.py", marks))
    monkeypatch.setattr(build_site, "ROOT", tmp_path / "root")
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "README.md").write_text("# Home\n\n[whole](other.md#there)\n")
    (pages / "other.md").write_text("# Other\n\n## There\n")
    assert build_site.render(tmp_path) == []
    (pages / "other.md").write_text(
        "# Other\n\n## There\n\n[a](gone.md)\n\n[b](README.md#gone)\n\n[cornernet.gone][]\n"
    )
    (problem,) = build_site.render(tmp_path)
    for words in ("page does not exist", "anchor does not exist", "unresolved autoref"):
        assert words in problem, problem
