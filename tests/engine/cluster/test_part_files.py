"""Lists of pictures and files of results, on this machine and on a file system of fsspec."""

import os

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture

pytest.importorskip("ray", reason="the extra `cluster` is not installed")

import pyarrow as pa
import pyarrow.parquet as pq

from cornernet.engine.cluster import part_files
from cornernet.engine.cluster.part_files import (
    SCHEMA,
    list_pictures,
    open_output,
    part_name,
    pictures_done,
    read_pictures,
    write_part,
)
from cornernet.engine.detector import Detector
from cornernet.engine.errors import DatasetError, OutputError
from cornernet.engine.results.detections import Detections

PNG = cv2.imencode(".png", picture(40, 50, (5, 6, 20, 30)))[1].tobytes()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("b.png", "a.JPG", "sub/deep/c.png", "notes.txt", "sub.png/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)
    return folder


def table(path, column="path", values=(), **more):
    pq.write_table(pa.table({column: list(values), **more}), path)
    return str(path)


def test_pictures_of_a_folder_are_listed_with_those_below_it_in_order(photos):
    names = [f"{photos}/{name}" for name in ("a.JPG", "b.png", "sub.png/d.png", "sub/deep/c.png")]
    assert list_pictures(str(photos)) == names
    assert list_pictures(photos.as_uri()) == names


def test_pictures_of_a_table_are_listed_once_each_in_its_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = table(tmp_path / "t.parquet", "file", ["/x/b.png", "s3://bucket/a", "here.png", "/x/b.png"], other=[1] * 4)
    assert list_pictures(source, "file") == ["/x/b.png", "s3://bucket/a", str(tmp_path / "here.png")]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: str(folder / "nowhere"), "no such folder"),
        (lambda folder: str(folder), "no pictures; looked for .bmp"),
        (lambda folder: table(folder / "t.parquet", "file", ["x"]), "no column 'path', only file"),
        (lambda folder: table(folder / "t.parquet", values=["x", None]), "row 1 of 'path' is None"),
        (lambda folder: table(folder / "t.parquet", values=[3]), "row 0 of 'path' is 3"),
        (lambda folder: "nonsense://x", "no file system here knows this address"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_in_words(tmp_path, make, why):
    with pytest.raises(DatasetError, match=why):
        list_pictures(make(tmp_path))


def test_a_table_that_is_none_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match="cannot be listed"):
        list_pictures(str(tmp_path / "t.parquet"))


def test_files_are_read_in_order_and_what_cannot_be_read_is_an_error_in_its_place(photos, tmp_path, monkeypatch):
    many = [str(photos / "a.JPG"), str(tmp_path / "gone.png"), str(photos), "nonsense://x"] + [
        str(photos / "b.png")
    ] * 40
    contents = list(read_pictures(many))
    assert [content == PNG for content in contents] == [True, False, False, False, *[True] * 40]
    assert [str(error).partition(":")[0] for error in contents[1:4]] == [
        "no such file",
        "not a regular file",
        "cannot be read",
    ]
    monkeypatch.setattr(part_files, "LARGEST_FILE", 10)
    assert "more than any picture needs" in str(next(read_pictures(many)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file system with pipes and names of any bytes")
def test_a_pipe_does_not_make_it_wait_and_a_name_that_is_no_text_costs_its_own_row_alone(photos):
    os.mkfifo(photos / "pipe.png")
    (photos / os.fsdecode(b"\xff.png")).write_bytes(PNG)
    (photos / "link.png").symlink_to(photos / "nowhere")
    names = [path.removeprefix(f"{photos}/") for path in list_pictures(str(photos))]
    assert names == ["\\xff.png", "a.JPG", "b.png", "sub.png/d.png", "sub/deep/c.png"]
    contents = list(read_pictures([f"{photos}/{name}" for name in ("\\xff.png", "pipe.png", "b.png")]))
    assert [str(content) for content in contents[:2]] == ["no such file", "not a regular file"] and contents[2] == PNG


def test_a_part_holds_what_was_found_and_is_there_once_however_often_it_is_written(tmp_path):
    paths = ["/x/a.png", "/x/ü.png", "/x/c.png"]
    with Detector(FunctionBackend(bright_box, make_card())) as detector:
        (found,) = detector.predict(picture(40, 50, (5, 6, 20, 30)))
    for _ in range(2):
        write_part(str(tmp_path), paths, [found, Detections.failed("no such file"), found])
    assert [path.name for path in tmp_path.iterdir()] == [part_name(paths)]
    content = pq.read_table(tmp_path / part_name(paths))
    assert content.schema == SCHEMA
    first, second, _ = content.to_pylist()
    np.testing.assert_allclose(first["boxes"], found.boxes)
    assert (first["width"], first["height"], first["error"], first["names"]) == (50, 40, None, ["bright"])
    assert (second["path"], second["width"], second["error"], second["boxes"]) == ("/x/ü.png", None, "no such file", [])
    assert part_name(paths) != part_name(paths[::-1])


def test_what_is_done_is_what_can_be_read_and_a_broken_part_is_done_again(tmp_path):
    empty = Detections.failed("x")
    write_part(str(tmp_path), ["a", "b"], [empty] * 2)
    write_part(str(tmp_path), ["c"], [empty])
    (tmp_path / part_name(["c"])).write_bytes(b"PAR1 half of it")
    (tmp_path / "somebody.parquet").write_bytes(b"else")
    assert pictures_done(str(tmp_path)) == {"a", "b"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([part_name(["a", "b"]), "somebody.parquet"])
    assert pictures_done(str(tmp_path / "nowhere")) == set()


def test_rows_with_an_error_can_be_taken_out_to_be_done_again(tmp_path):
    output, bad, good = str(tmp_path), Detections.failed("the bucket cannot be reached"), Detections([], [], [])
    write_part(output, ["a", "b", "c"], [good, bad, good])
    write_part(output, ["d"], [bad])
    write_part(output, ["e"], [good])
    assert pictures_done(output) == {"a", "b", "c", "d", "e"}
    assert pictures_done(output, retry_errors=True) == {"a", "c", "e"}
    assert pictures_done(output) == {"a", "c", "e"}
    left = pq.read_table(tmp_path)
    assert sorted(left["path"].to_pylist()) == ["a", "c", "e"] and left.schema == SCHEMA
    assert not (tmp_path / part_name(["d"])).exists()


def test_a_write_that_fails_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(part_files.pq, "write_table", fail)
    with pytest.raises(OutputError, match="no space left"):
        write_part(str(tmp_path), ["a"], [Detections.failed("x")])
    assert list(tmp_path.glob("part-*")) == []
    assert pictures_done(str(tmp_path)) == set()


def test_an_output_belongs_to_one_job(tmp_path):
    output = str(tmp_path / "found")
    open_output(output, {"model": "1"})
    open_output(output, {"model": "1"})
    with pytest.raises(OutputError, match="another job, with other model"):
        open_output(output, {"model": "2"})
    with pytest.raises(OutputError, match="not empty"):
        open_output(str(tmp_path), {"model": "1"})
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        open_output(str(tmp_path / "file"), {"model": "1"})


def test_a_file_system_of_fsspec_does_as_well(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/cornernet/in/a.png", PNG)
    try:
        (address,) = list_pictures("memory://cornernet/in")
        assert next(read_pictures([address])) == PNG
        open_output("memory://cornernet/out", {"model": "1"})
        write_part("memory://cornernet/out", [address], [Detections.failed("x")])
        assert pictures_done("memory://cornernet/out") == {address}
    finally:
        memory.rm("/cornernet", recursive=True)
