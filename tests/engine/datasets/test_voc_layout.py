"""Pascal VOC: the convention of its coordinates, difficult objects, and XML from strangers."""

import pytest
from dataset_layouts import TRUTH, objects_of, truth_of, write_voc

from cornernet.engine.datasets import safe_xml
from cornernet.engine.datasets.layouts import find_dataset, load_dataset
from cornernet.engine.datasets.safe_xml import read_xml
from cornernet.engine.errors import DatasetError


def voc(root, objects, size="<size><width>80</width><height>60</height></size>"):
    """a.jpg, 60 x 80, with these objects: (name, xmin, ymin, xmax, ymax, further XML)."""
    write_voc(root, {"train": TRUTH["train"][:1]})
    found = "".join(
        f"<object><name>{name}</name>{more}<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for name, x1, y1, x2, y2, more in objects
    )
    (root / "Annotations/a.xml").write_text(f"<annotation>{size}{found}</annotation>")
    return load_dataset(root, "train")


def test_coordinates_count_pixels_from_one_with_both_ends_included(tmp_path):
    whole, single, float_text = ("x", 1, 1, 80, 60, ""), ("x", 5, 7, 5, 7, ""), ("x", "2.5", "3.0", " 9 ", "1e1", "")
    (sample,) = voc(tmp_path, [whole, single, float_text]).samples
    assert sample.boxes.tolist() == [[0, 0, 80, 60], [4, 6, 5, 7], [1.5, 2, 9, 10]]


def test_boxes_from_zero_are_kept_and_reported_once(tmp_path):
    data = voc(tmp_path, [("x", 0, 0, 80, 60, ""), ("x", 3, 0, 9, 9, "")])
    assert data.samples[0].boxes.tolist() == [[0, 0, 80, 60], [2, 0, 9, 9]]
    assert len(data.problems) == 1 and data.problems[0].startswith("2 boxes begin at 0, but Pascal VOC counts")


def test_difficult_objects_are_neither_trained_on_nor_scored(tmp_path):
    marked = [("x", 1, 1, 9, 9, f"<difficult>{value}</difficult>") for value in ("1", "0", " 1 ", "")]
    assert voc(tmp_path, marked).samples[0].crowd.tolist() == [True, False, True, False]


def test_parts_of_an_object_are_no_objects(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    data = voc(tmp_path, [("person", 1, 1, 9, 9, part)])
    assert data.class_names == ("person",) and data.samples[0].boxes.tolist() == [[0, 0, 9, 9]]


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size>x</size>"])
def test_a_size_that_is_missing_is_that_of_the_picture(size, tmp_path):
    (sample,) = voc(tmp_path, [("x", 1, 1, 9, 9, "")], size).samples
    assert (sample.height, sample.width) == (60, 80)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("x", 9, 9, 3, 3, ""), "has no area"),
        (("x", "one", 1, 3, 3, ""), "expected four finite numbers"),
        (("x", "nan", 1, 3, 3, ""), "expected four finite numbers"),
        (("x", "1e300", 1, 3, 3, ""), "expected four finite numbers"),
        (("x", 200, 1, 300, 3, ""), "lies outside the image"),
        (("", 1, 1, 9, 9, ""), "category_id"),
    ],
)
def test_a_wrong_object_is_left_out_and_named(wrong, words, tmp_path):
    data = voc(tmp_path, [("x", 1, 1, 9, 9, ""), wrong])
    assert data.samples[0].boxes.tolist() == [[0, 0, 9, 9]]
    assert len(data.problems) == 1 and words in data.problems[0]


def test_the_classes_are_those_of_the_whole_data_set(tmp_path):
    write_voc(tmp_path)
    for split in ("train", "val"):
        assert load_dataset(tmp_path, split).class_names == ("cat", "no")


def test_pictures_beside_the_list_and_files_beside_the_pictures_are_named(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "JPEGImages/c.jpg").unlink()
    (tmp_path / "Annotations/b.xml").write_text("<annotation>")
    file = tmp_path / "ImageSets/Main/train.txt"
    file.write_text(file.read_text() + "nowhere\n\na.jpg\n")
    data = load_dataset(tmp_path, "train")
    assert objects_of(data) == {"a.jpg": truth_of("train")["a.jpg"]}
    broken, *others = data.problems
    assert "b.xml" in broken and "expected an XML file" in broken
    assert others == [
        "b: no usable XML file in Annotations; left out",
        "c: no picture of this name in JPEGImages; left out",
        "nowhere: no usable XML file in Annotations; left out",
    ]


def test_names_of_pictures_may_hold_blanks(tmp_path):
    write_voc(tmp_path)
    for path in [*(tmp_path / "JPEGImages").iterdir(), *(tmp_path / "Annotations").iterdir()]:
        path.rename(path.with_name(f"my {path.name}"))
    lists = [tmp_path / f"ImageSets/Main/{split}.txt" for split in ("train", "val")]
    for file in lists:
        stems = file.read_text().split()
        file.write_text("".join(f"my {stem}\n" for stem in stems))
        file.with_name(f"cat_{file.name}").write_text("".join(f"my {stem} -1\n" for stem in stems))
    assert sorted(find_dataset(tmp_path).splits) == ["train", "val"]
    assert objects_of(load_dataset(tmp_path, "train")) == {
        f"my {name}": found for name, found in truth_of("train").items()
    }


def test_where_no_file_can_be_used_the_reason_is_said(tmp_path):
    write_voc(tmp_path)
    for file in (tmp_path / "Annotations").iterdir():
        file.write_text("<!DOCTYPE a><annotation/>")
    with pytest.raises(DatasetError, match=r"no object has a name.*a\.xml.*document type"):
        load_dataset(tmp_path, "train")


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
SECRET = '<!ENTITY secret SYSTEM "file:///etc/passwd">'


@pytest.mark.parametrize(
    "attack",
    [
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l9;</a>',
        f"<!DOCTYPE a [{SECRET}]><a>&secret;</a>",
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a/>',
        "<!DOCTYPE a><a/>",
        "<a>&undefined;</a>",
        "",
        "no XML",
        "<a>" * 100,
        '<?xml version="1.0" encoding="no-such"?><a/>',
        "<a/><b/>",
    ],
    ids=["billion laughs", "a file", "a network", "a type", "undefined", "empty", "text", "open", "encoding", "two"],
)
def test_hostile_xml_is_refused_in_a_line(attack, tmp_path):
    file = tmp_path / "a.xml"
    file.write_text(attack)
    with pytest.raises(DatasetError, match="expected an XML file without a document type") as error:
        read_xml(file)
    assert len(str(error.value)) < 300 and str(error.value).isprintable()


def test_depth_and_size_have_limits(tmp_path, monkeypatch):
    file = tmp_path / "a.xml"
    file.write_text("<a>" * 200_000 + "</a>" * 200_000)
    assert read_xml(file).tag == "a"
    monkeypatch.setattr(safe_xml, "MOST_BYTES", 10)
    with pytest.raises(DatasetError, match="at most 10 bytes"):
        read_xml(file)
    with pytest.raises(DatasetError, match=r"nowhere\.xml"):
        read_xml(tmp_path / "nowhere.xml")


def test_text_in_other_encodings_and_entities_of_xml_itself_are_read(tmp_path):
    file = tmp_path / "a.xml"
    file.write_bytes('<?xml version="1.0" encoding="latin-1"?><a>caf\xe9 &amp; &lt;co&gt;</a>'.encode("latin-1"))
    assert read_xml(file).text == "café & <co>"
