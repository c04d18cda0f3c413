"""What predict says: of sizes that do not fit, of options as others spell them, of addresses."""

import cv2
import pytest
from daily_use import BOX, done, lines_of, model, photos, run
from fake_backends import picture

__all__ = ["model", "photos"]


def test_a_model_far_from_its_training_size_that_finds_nothing_says_so(model, photos, tmp_path):
    words = ("predict", model, photos / "0.png", "--json", tmp_path / "a.jsonl")
    assert "trained at 128x128 px and ran at 640x640 px" in done(*words, "--size", 640).stderr
    for usual in ((), ("--size", "128x128"), ("--size", "128")):
        assert "trained at" not in done(*words, *usual).stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--conf", "0.3"), "Here it is called --threshold"),
        (("--imgsz", "640"), "Here it is called --size"),
        (("--iou", "0.5"), "soft-NMS"),
        (("--gpu", "0"), "Here it is called --device"),
        (("--source", "x"), "pictures stand behind the model"),
        (("--save-txt",), "Here it is called --save yolo"),
        (("--nonsense",), "No such option"),
    ],
)
def test_an_option_that_others_have_is_named_as_it_is_here(model, photos, tmp_path, option, words):
    result = run("predict", model, photos, "-o", tmp_path / "out", *option)
    assert result.exit_code == 2 and words in " ".join(result.stderr.replace("│", "").split())


def test_an_address_is_kept_as_it_is_and_refused_in_a_sentence(model, photos, tmp_path):
    result = done("predict", model, photos / "1.png", "https://example.com/a.jpg", "-o", tmp_path / "out")
    assert "https://example.com/a.jpg: an address is not fetched" in result.stderr


def test_addresses_are_fetched_on_request_and_their_copies_get_names_of_files(model, tmp_path, monkeypatch):
    png = cv2.imencode(".png", picture(100, 120, BOX))[1].tobytes()
    monkeypatch.setattr("cornernet.engine.reading.urls.fetch", lambda url: png)
    addresses = ["https://example.com/a.png?x=1", "https://example.com/b/a.png", "https://example.com/"]
    done("predict", model, *addresses, "--urls", "-o", tmp_path / "out", "--save", "yolo")
    assert {path.name for path in (tmp_path / "out").glob("*.jpg")} == {"a.jpg", "a-2.jpg", "example.jpg"}
    assert [line["path"] for line in lines_of(tmp_path / "out/detections.jsonl")] == addresses
    assert (tmp_path / "out/labels/a-2.txt").read_text().startswith("0 0.29")
