"""The official protocol box for box, and each decision by which it differs."""

from dataclasses import fields, replace

import cv2
import numpy as np
import oracles_engine as oracle
import pytest
from fake_backends import FunctionBackend, bright_box, like_official_weights, make_card, picture, raw_detections

from cornernet.engine.backends import RawDetections
from cornernet.engine.detector import Detector
from cornernet.engine.protocol import DEFAULT, MMDETECTION, OFFICIAL, PROTOCOLS, Protocol, find_protocol

CLASSES = 80
CARD = make_card(class_names=tuple(f"c{i}" for i in range(CLASSES)), category_ids=tuple(range(1, CLASSES + 1)))


class RecordedBackend:
    """Answers each canvas with detections recorded for it: (n, 8) in heatmap cells, as the official decoder's."""

    name = "recorded"

    def __init__(self, recorded):
        self.card = CARD
        self.recorded = {canvas.tobytes(): dets for canvas, dets in recorded}

    def run(self, canvases):
        dets = np.stack([self.recorded[canvas.tobytes()] for canvas in canvases])
        height, width = canvases.shape[1:3]
        to_px = np.array([width / ((width + 1) // 4), height / ((height + 1) // 4)] * 2)
        return RawDetections(
            (dets[..., :4] * to_px).astype(np.float32),
            dets[..., 4],
            dets[..., 5:7],
            dets[..., 7].astype(np.int32),
            (dets[..., 4] > -1).sum(axis=1).astype(np.int32),
        )

    def close(self):
        pass


def compare(found, expected):
    assert found.error is None
    np.testing.assert_array_equal(found.labels, expected[:, 5])
    np.testing.assert_allclose(found.boxes, expected[:, :4], atol=1e-4)
    np.testing.assert_allclose(found.scores, expected[:, 4], atol=1e-5)


@pytest.mark.parametrize("name", ["single_100x150", "single_240x321", "single_480x640_postonly"])
def test_official_protocol_gives_the_official_boxes_in_the_official_order(golden, name):
    case = np.load(golden / "g_pre_post" / f"{name}.npz")
    image, dets = case["image_bgr_u8"], case["decoded_dets_0"]
    canvas, _, _ = oracle.official_canvas(image, 1, cv2.resize)
    backend = RecordedBackend([(canvas, dets[0]), (canvas[:, ::-1], dets[1])])
    found = Detector(backend, score_threshold=0, protocol="official").predict(image)[0]
    expected = case["final_boxes"].copy()
    expected[:, 5] -= 1
    compare(found, expected)


def random_dets(rng, cells, count=120):
    """Clustered boxes in heatmap cells, some of them rejected rows."""
    height, width = cells
    centres = rng.uniform((0, 0), (width, height), (12, 2))[rng.integers(0, 12, count)]
    half = rng.uniform(1, 10, (count, 2))
    corners = np.concatenate((centres - half, centres + half), axis=1) + rng.normal(0, 0.7, (count, 4))
    pair = rng.uniform(0.01, 1, (count, 2))
    dets = np.column_stack((corners, pair.mean(axis=1), pair, rng.integers(0, 4, count)))
    dets = dets[np.argsort(-dets[:, 4])]
    dets[-count // 5 :, 4] = -1
    return dets.astype(np.float32)


@pytest.mark.parametrize("size", [(120, 161), (127, 255), (128, 128)], ids=str)
@pytest.mark.parametrize(
    ("scales", "merge_exponent"), [((1.0,), None), ((0.5, 0.75, 1, 1.25, 1.5), 10.0)], ids=["single", "multiscale"]
)
def test_official_protocol_equals_the_slow_official_pipeline(size, scales, merge_exponent):
    rng = np.random.default_rng(size[1])
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    recorded, per_scale = [], []
    for scale in scales:
        canvas, border, resized = oracle.official_canvas(image, scale, cv2.resize)
        cells = (canvas.shape[0] + 1) // 4, (canvas.shape[1] + 1) // 4
        dets = np.stack([random_dets(rng, cells), random_dets(rng, cells)])
        recorded += [(canvas, dets[0]), (canvas[:, ::-1], dets[1])]
        per_scale.append((scale, canvas.shape[:2], border, resized, dets))
    expected = oracle.official_results(per_scale, classes=CLASSES, merge_exponent=merge_exponent)
    assert len(expected) >= 100
    detector = Detector(RecordedBackend(recorded), protocol="official", scales=scales, merge_exponent=merge_exponent)
    for batch_size in (1, 3, 10):
        compare(detector.predict(image, batch_size=batch_size)[0], expected)


@pytest.mark.parametrize(("trained", "network"), [("edges", bright_box), ("pixels", like_official_weights)])
def test_default_mirrored_view_finds_the_same_box_as_the_plain_view(trained, network):
    image = picture(100, 150, (20, 30, 61, 70))
    backend = FunctionBackend(network, make_card(trained_mirror=trained))
    plain = Detector(backend, score_threshold=0, mirror=False, soft_nms=None).predict(image)[0]
    both = Detector(backend, score_threshold=0, mirror=True, soft_nms=None).predict(image)[0]
    assert len(both) == 2
    np.testing.assert_allclose(both.boxes, np.repeat(plain.boxes, 2, axis=0))


def test_official_mirrored_view_of_official_weights_sits_one_pixel_to_the_right():
    image = picture(100, 150, (20, 30, 61, 70))
    backend = FunctionBackend(like_official_weights, make_card(trained_mirror="pixels"))
    found = Detector(backend, score_threshold=0, protocol="official", soft_nms=None).predict(image)[0]
    np.testing.assert_allclose(found.boxes[1] - found.boxes[0], [1, 0, 1, 0])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_finds_the_box(name):
    image = picture(100, 150, (20, 30, 60, 70))
    found = Detector(FunctionBackend(bright_box), score_threshold=0, protocol=name, mirror=False).predict(image)[0]
    np.testing.assert_allclose(found.boxes, [[20, 30, 60, 70]])


def test_scores_of_the_official_result_file_have_two_digits():
    found = Detector(FunctionBackend(bright_box), score_threshold=0, protocol="official", mirror=False).predict(
        picture(100, 150, (20, 30, 60, 70), value=211)
    )[0]
    entry = found.to_coco(image_id=5)[0]
    assert entry == {"image_id": 5, "category_id": 7, "bbox": [20.0, 30.0, 40.0, 40.0], "score": 0.83}
    assert found.scores[0] == np.float32(211 / 255)


def test_only_the_default_drops_boxes_that_lie_in_the_padding():
    def in_padding(canvas):
        return [(1, 1, 5, 5, 0.9, 0)]

    image = picture(100, 150)
    assert len(Detector(FunctionBackend(in_padding)).predict(image)[0]) == 0
    assert len(Detector(FunctionBackend(in_padding), protocol="official", mirror=False).predict(image)[0]) == 1


class CrowdedBackend(FunctionBackend):
    """Many overlapping boxes of two classes, a weak one that overlaps nothing, and two of equal score."""

    ROWS = (
        *((10 + i % 7, 10, 60 + i % 5, 60, 0.9 - 0.004 * i, i % 2) for i in range(200)),
        (70, 70, 90, 90, 0.0005, 0),
        (100, 100, 120, 120, 0.95, 0),
        (100, 100, 120, 120, 0.95, 1),
    )

    def __init__(self):
        super().__init__(find=None)

    def run(self, canvases):
        raw = raw_detections([self.ROWS] * len(canvases), num_dets=len(self.ROWS))
        raw.corner_scores[..., 0] *= np.linspace(0.2, 1, len(self.ROWS), dtype=np.float32)
        return raw


def with_and_without(decision, **options):
    mended = replace(OFFICIAL, **{decision: getattr(DEFAULT, decision)})
    return (
        Detector(CrowdedBackend(), score_threshold=0, protocol=protocol, mirror=False, **options).predict(
            picture(127, 127)
        )[0]
        for protocol in (OFFICIAL, mended)
    )


def test_stale_rows_can_be_dropped_alone():
    official, mended = with_and_without("keep_stale", max_per_image=1000)
    assert len(official) == len(CrowdedBackend.ROWS) > len(mended)


def test_weak_boxes_that_overlap_nothing_can_be_dropped_alone():
    official, mended = with_and_without("drop_weak", max_per_image=1000)
    assert np.float32(0.0005) in official.scores and np.float32(0.0005) not in mended.scores


def test_ties_beyond_the_limit_can_be_cut_alone():
    official, mended = with_and_without("keep_ties", max_per_image=1)
    assert (len(official), len(mended)) == (2, 1)


def test_order_by_score_can_be_had_alone():
    official, mended = with_and_without("order")
    assert (np.diff(mended.scores) <= 0).all() and not (np.diff(official.scores) <= 0).all()
    np.testing.assert_array_equal(np.sort(official.scores), np.sort(mended.scores))


def test_corner_scores_can_be_moved_with_their_box_alone():
    official, mended = with_and_without("move_corner_scores", merge_exponent=2.0)
    np.testing.assert_array_equal(official.scores, mended.scores)
    assert np.abs(official.boxes - mended.boxes).max() > 1e-3


def test_the_official_protocol_differs_from_the_default_in_every_decision_it_documents():
    decisions = [field.name for field in fields(Protocol) if field.name != "name"]
    documented = Protocol.__doc__ or ""
    assert all(f"{decision}: " in documented for decision in decisions)
    same = [decision for decision in decisions if getattr(OFFICIAL, decision) == getattr(DEFAULT, decision)]
    assert same == ["clip_far_side"]  # mmdetection's


def test_mmdetection_pads_with_the_card_and_shows_rgb():
    card = make_card(channel_order="rgb", fill=(124, 116, 104))
    seen = []

    class Spy(FunctionBackend):
        def run(self, canvases):
            seen.append(canvases.copy())
            return super().run(canvases)

    image = np.full((100, 100, 3), (1, 2, 3), np.uint8)
    Detector(Spy(lambda canvas: [], card), protocol=MMDETECTION).predict(image)
    assert seen[0].shape == (1, 127, 127, 3)
    np.testing.assert_array_equal(seen[0][0, 0, 0], card.fill)
    np.testing.assert_array_equal(seen[0][0, 63, 63], (3, 2, 1))


def test_an_unknown_protocol_or_canvas_is_named_with_the_choices():
    with pytest.raises(ValueError, match='"default", "official", "mmdetection"'):
        find_protocol("offical")
    with pytest.raises(ValueError, match='"multiple", "official"'):
        find_protocol("default", canvas="square")
    assert find_protocol("default", canvas="official").canvas == "official"
