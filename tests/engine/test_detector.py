"""The Detector: order, batches, views, streams, threads."""

import threading

import cv2
import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture, write_onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from cornernet import Detector
from cornernet.engine.errors import BackendError, ModelError


def random_pictures(seed, count, largest=200):
    rng = np.random.default_rng(seed)
    images, boxes = [], []
    for _ in range(count):
        height, width = rng.integers(8, largest, 2)
        x1, y1 = rng.integers(0, width - 4), rng.integers(0, height - 4)
        x2, y2 = rng.integers(x1 + 2, width + 1), rng.integers(y1 + 2, height + 1)
        images.append(picture(height, width, (x1, y1, x2, y2)))
        boxes.append((x1, y1, x2, y2))
    return images, boxes


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 12),
    batch_size=st.integers(1, 5),
    canvas=st.sampled_from(["multiple", "official"]),
    stream=st.booleans(),
)
def test_every_image_gets_its_own_result_in_order(seed, count, batch_size, canvas, stream):
    images, boxes = random_pictures(seed, count)
    backend = FunctionBackend(bright_box)
    detector = Detector(backend, canvas=canvas)
    run = detector.stream if stream else detector.predict
    results = list(run(images, batch_size=batch_size))
    assert [found.index for found in results] == list(range(count))
    for image, box, found in zip(images, boxes, results):
        assert found.error is None and found.image_size == image.shape[:2]
        np.testing.assert_allclose(found.boxes, [box])
    assert all(shape[0] <= batch_size for shape in backend.shapes)


def test_images_of_one_canvas_share_batches():
    backend = FunctionBackend(bright_box)
    small, large = picture(100, 100), picture(200, 100)
    Detector(backend).predict([small, large] * 3, batch_size=2)
    assert sorted(shape[:3] for shape in backend.shapes) == [
        (1, 128, 128), (1, 256, 128), (2, 128, 128), (2, 256, 128)
    ]  # fmt: skip


def test_fit_puts_all_sizes_into_one_batch_and_scales_the_boxes_back():
    backend = FunctionBackend(bright_box)
    sizes = [(100, 200), (600, 300), (64, 64)]
    boxes = [(50, 20, 150, 80), (60, 120, 240, 480), (16, 16, 48, 48)]
    images = [picture(*size, box) for size, box in zip(sizes, boxes)]
    results = Detector(backend, resize="fit", size=(256, 256)).predict(images, batch_size=8)
    assert backend.shapes == [(3, 256, 256, 3)]
    for found, box in zip(results, boxes):
        np.testing.assert_allclose(found.boxes[0], box, atol=2)


def test_fit_uses_the_size_of_training():
    backend = FunctionBackend(bright_box, make_card(train_size=(128, 384)))
    Detector(backend, resize="fit").predict(picture(10, 10))
    assert backend.shapes == [(1, 128, 384, 3)]


def test_a_canvas_that_does_not_suit_the_model_is_refused():
    with pytest.raises(ModelError, match=r"a canvas of 100x128 .* multiples of 128 up to 1024"):
        Detector(FunctionBackend(bright_box), resize="fit", size=(100, 128))
    with pytest.raises(ModelError, match="2048x128"):
        Detector(FunctionBackend(bright_box), resize="fit", size=(2048, 128))


def test_with_fit_the_canvas_itself_is_scaled():
    backend = FunctionBackend(bright_box)
    Detector(backend, resize="fit", size=(128, 256), scales=(0.5, 1, 1.3)).predict(picture(100, 100))
    assert {shape[1:3] for shape in backend.shapes} == {(128, 128), (128, 256), (256, 384)}
    with pytest.raises(ModelError, match="1152x1152"):
        Detector(backend, resize="fit", size=(768, 768), scales=(1, 1.5))


def test_scales_and_mirrored_views_are_merged_into_one_box_per_object():
    backend = FunctionBackend(bright_box)
    detector = Detector(backend, scales=(1.0, 2.0), mirror=True, soft_nms="hard", score_threshold=0.1)
    found = detector.predict(picture(100, 150, (20, 30, 60, 70)))[0]
    assert len(found) == 1
    np.testing.assert_allclose(found.boxes, [[20, 30, 60, 70]], atol=0.6)
    assert {shape[1:3] for shape in backend.shapes} == {(128, 256), (256, 384)}
    assert sum(shape[0] for shape in backend.shapes) == 4


def test_colour_order_of_the_card_is_obeyed():
    seen = {}

    def look(canvas):
        seen["pixel"] = canvas[64, 64].tolist()
        return []

    image = np.full((128, 128, 3), (10, 20, 30), np.uint8)
    for order, expected in (("bgr", [10, 20, 30]), ("rgb", [30, 20, 10])):
        Detector(FunctionBackend(look, make_card(channel_order=order))).predict(image)
        assert seen["pixel"] == expected


def test_paths_bytes_and_arrays_mix_and_directories_expand(tmp_path):
    image = picture(100, 150, (20, 30, 60, 70))
    for name in ("b.png", "a.png"):
        cv2.imwrite(str(tmp_path / name), image)
    content = (tmp_path / "a.png").read_bytes()
    results = Detector(FunctionBackend(bright_box)).predict([tmp_path, content, image, str(tmp_path / "*.png")])
    paths = [found.path and found.path.rsplit("/", 1)[1] for found in results]
    assert paths == ["a.png", "b.png", None, None, "a.png", "b.png"]
    assert all(found.names == ("bright",) for found in results)
    assert len(Detector(FunctionBackend(bright_box)).predict(image)) == 1


def test_classes_and_categories_come_from_the_card():
    found = Detector(FunctionBackend(bright_box)).predict(picture(50, 50, (10, 10, 30, 30)))[0]
    assert found.class_names == ("bright", "other")
    assert found.to_coco(1)[0]["category_id"] == 7


def test_many_threads_share_one_detector(tmp_path):
    images, boxes = random_pictures(0, 12, largest=120)
    with Detector(write_onnx(tmp_path / "model.onnx", make_card()), threads=1) as detector:
        failures = []

        def work(shift):
            order = [(place + shift) % len(images) for place in range(len(images))]
            results = detector.predict([images[place] for place in order], batch_size=3)
            for place, found in zip(order, results):
                if found.error or not np.allclose(found.boxes, [boxes[place]]):
                    failures.append((place, found.error))

        threads = [threading.Thread(target=work, args=(shift,)) for shift in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_closed_detector_says_so_and_leaves_a_borrowed_backend_open(tmp_path):
    backend = FunctionBackend(bright_box)
    with Detector(backend) as detector:
        pass
    assert not backend.closed
    with pytest.raises(BackendError, match="closed"):
        detector.predict(picture(10, 10))
    owned = Detector(write_onnx(tmp_path / "model.onnx", make_card()))
    owned.close()
    owned.close()
    with pytest.raises(BackendError, match="closed"):
        owned.backend.run(np.zeros((1, 128, 128, 3), np.uint8))


def test_warm_up_runs_the_canvas_that_will_be_used():
    backend = FunctionBackend(bright_box, make_card(train_size=(256, 128)))
    Detector(backend).warm_up(batch_size=2)
    Detector(backend, resize="fit", size=(128, 128)).warm_up()
    Detector(backend).warm_up(size=(384, 256))
    Detector(FunctionBackend(bright_box)).warm_up()
    assert [shape[:3] for shape in backend.shapes] == [(2, 256, 128), (1, 128, 128), (1, 384, 256)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": ()}, "one or more factors"),
        ({"scales": (0.0,)}, "scales=0.0; expected a number from 0.01"),
        ({"resize": "stretch"}, '"original", "fit"'),
        ({"protocol": "offical"}, "expected one of"),
        ({"soft_nms": "soft"}, '"gaussian", "linear", "hard"'),
        ({"max_per_image": 0}, "at least 1"),
        ({"threads": 0}, "threads=0; expected a whole number from 1"),
        ({"decode": "quick"}, 'one of "exact", "fast"'),
    ],
)
def test_wrong_settings_are_named_with_the_right_ones(options, message):
    with pytest.raises(ValueError, match=message):
        Detector(FunctionBackend(bright_box), **options)


def test_backend_options_of_an_open_backend_are_refused():
    with pytest.raises(TypeError, match="providers"):
        Detector(FunctionBackend(bright_box), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("option", ["batch_size", "prefetch"])
def test_sizes_below_one_are_refused_at_once(option):
    with pytest.raises(ValueError, match=f"{option}=0; expected a whole number from 1"):
        Detector(FunctionBackend(bright_box)).stream([], **{option: 0})


@pytest.mark.parametrize("options", [{"resize": "stretch"}, {"size": (100, 100)}, {"scales": ()}, {"threads": 0}])
def test_a_detector_that_cannot_be_made_closes_what_it_opened(monkeypatch, options):
    backend = FunctionBackend(bright_box)
    monkeypatch.setattr("cornernet.engine.backends.open.open_backend", lambda path, **_: backend)
    with pytest.raises((ValueError, ModelError)):
        Detector("model.onnx", **options)
    assert backend.closed
