"""Cards that no runtime could honour are refused when they are read, with the field; older cards still load."""

import json

import pytest
from fake_backends import make_card

from cornernet.engine.errors import ModelError
from cornernet.engine.model_card import LONGEST_SIDE, Decoder, ModelCard

ABSURD = {
    "canvas of a trillion pixels": ({"max_size": 1_280_000_000_000}, "max_size"),
    "training canvas of a trillion pixels": ({"train_size": [1_280_000_000_000, 128]}, "train_size"),
    "training canvas off the grid": ({"train_size": [130, 128]}, "train_size"),
    "training canvas of nothing": ({"train_size": [0, 128]}, "train_size"),
    "no canvas fits": ({"size_multiple": 256, "max_size": 200}, "no canvas is legal"),
    "multiple that is none": ({"stride": 4, "size_multiple": 130}, "no multiple of stride 4"),
    "stride of a billion": ({"stride": 10**9, "size_multiple": 10**9}, "stride"),
    "infinite mean": ({"mean": [1e999, 0, 0]}, "mean"),
    "enormous mean": ({"mean": [1e300, 0, 0]}, "mean"),
    "no deviation": ({"std": [0.0, 1, 1]}, "std"),
    "negative deviation": ({"std": [-1.0, 1, 1]}, "std"),
    "padding that is no byte": ({"fill": [0, 0, 256]}, "fill"),
    "one id twice": ({"category_ids": [7, 7]}, "same category id"),
    "an id of 400 digits": ({"category_ids": [7, 10**400]}, "category_ids"),
    "an id too few": ({"category_ids": [7]}, "2 class names but 1 category ids"),
    "infinite distance": ({"decoder": {"max_distance": 1e999}}, "decoder.max_distance"),
    "unknown field": ({"colour": "bgr"}, "colour"),
}
SACCADE = {"size_multiple": 32, "train_size": [255, 255], "saccade": {}}
ABSURD_SACCADES = {
    "no canvas": ({"train_size": None}, "train_size None is no square"),
    "no square canvas": ({"train_size": [255, 127]}, "is no square"),
    "canvas beyond the file": ({"max_size": 128}, "longer than max_size 128"),
    "views beyond the canvas": ({"saccade": {"view_sizes": [256]}}, "longer than the canvas of 255"),
    "no views": ({"saccade": {"view_sizes": []}}, "saccade.view_sizes"),
    "maps that do not fit": ({"saccade": {"attention_strides": [48, 8, 4]}}, "no multiple of"),
    "two levels": ({"saccade": {"attention_strides": [8, 4]}}, "saccade.attention_strides"),
    "zoom of nothing": ({"saccade": {"zooms": [0, 1, 2]}}, "saccade.zooms"),
    "bounds that rise": ({"saccade": {"reference_bounds": [32, 96]}}, "do not descend"),
    "a million crops": ({"saccade": {"max_crops": 10**6}}, "saccade.max_crops"),
    "no locations": ({"saccade": {"locations": 0}}, "saccade.locations"),
    "unknown setting": ({"saccade": {"looks": 2}}, "saccade.looks"),
}


def changed(changes: dict) -> str:
    return json.dumps(json.loads(make_card().to_json()) | changes)


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_card_is_refused_by_its_field(name):
    changes, words = ABSURD[name]
    with pytest.raises(ModelError, match=rf"model\.onnx: the model card is not valid: .*{words}"):
        ModelCard.from_json(changed(changes), origin="model.onnx")


@pytest.mark.parametrize("name", ABSURD_SACCADES)
def test_an_absurd_saccade_is_refused_by_its_field(name):
    changes, words = ABSURD_SACCADES[name]
    with pytest.raises(ModelError, match=rf"model\.onnx: the model card is not valid: .*{words}"):
        ModelCard.from_json(changed(SACCADE | changes), origin="model.onnx")


@pytest.mark.parametrize("text", ["", "null", "[" * 100_000, "{}", '"\\ud800"', "\x00", '{"name": NaN}'])
def test_text_that_is_no_card_is_refused(text):
    with pytest.raises(ModelError, match="the model card is not valid"):
        ModelCard.from_json(text, origin="model.onnx")


@pytest.mark.parametrize("changes", [{}, {"max_size": LONGEST_SIDE}, {"train_size": [511, 509]}, {"std": [1, 1, 1]}])
def test_cards_of_real_models_are_read(changes):
    assert ModelCard.from_json(changed(changes), origin="model.onnx")


def test_a_card_comes_back_equal_and_old_readers_meet_no_field_that_says_nothing():
    saccade = make_card(**SACCADE, decoder=Decoder(reject_border=True))
    for card in (make_card(), make_card(test_mirror=False), saccade):
        assert ModelCard.from_json(card.to_json(), origin="model.onnx") == card
    for name in ("test_mirror", "score_thresholds", "saccade", "reject_border"):
        assert name not in make_card().to_json()
    assert "score_thresholds" not in saccade.to_json() and '"reject_border":true' in saccade.to_json()


@pytest.mark.parametrize(
    ("changes", "canvas"),
    [
        ({"train_size": (511, 384)}, (511, 384)),
        ({"train_size": (511, 384), "max_size": 256}, (256, 256)),  # exported for smaller canvases than it was trained
        ({"max_size": 126}, (126, 126)),
        ({"max_size": 1024}, (512, 512)),
    ],
)
def test_the_usual_canvas_is_always_legal(changes, canvas):
    card = make_card(**changes)
    assert card.usual_canvas == canvas and all(map(card.is_legal_side, canvas))
