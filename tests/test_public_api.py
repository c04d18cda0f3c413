"""What users call, with each argument wrong in every way: an exception of ours, or a TypeError or ValueError that says
what was expected. Never whatever a library happened to raise."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from fake_backends import FunctionBackend, bright_box, make_card, picture, write_onnx

import cornernet
from cornernet import CornerNetError, Detections, Detector, ModelCard, Protocol, engine, read_image
from cornernet.engine.arguments import shown
from cornernet.engine.backends.open import open_backend
from cornernet.engine.datasets.layouts import find_dataset, load_dataset
from cornernet.engine.reading.picture_size import picture_size
from cornernet.engine.scoring.coco import load_coco
from cornernet.export.onnx_export import deployed_card
from cornernet.trainer.deploy.open_model import open_model
from cornernet.trainer.import_weights import import_checkpoint
from cornernet.trainer.loop.resume_file import load_resume
from cornernet.trainer.network.checkpoint import load_checkpoint
from cornernet.trainer.network.corner_net import CornerNet
from cornernet.trainer.network.presets import preset

WRONG = {
    "nothing": None,
    "true": True,
    "minus one": -1,
    "zero": 0,
    "fifty": 50,
    "a huge number": 10**30,
    "a number of 5000 digits": 10**5000,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus three and a half": -3.5,
    "no text": "",
    "a letter": "x",
    "a URL": "https://example.com/a.jpg",
    "base64": "data:image/png;base64," + "iVBORw0KGgo" * 2000,
    "a long name": "a" * 5000 + ".onnx",
    "no UTF-8": "caf\udce9",
    "a zero byte": "a\0b",
    "bytes": b"x",
    "no bytes": b"",
    "an empty list": [],
    "a list of nothing": [None],
    "a list of NaN": [float("nan")],
    "a list of text": ["x"],
    "one number in a tuple": (1,),
    "huge numbers": (10**30, 10**30),
    "a negative size": (-128, 128),
    "a size of text": ("128", "128"),
    "an empty dict": {},
    "a dict": {"a": 1},
    "a set": {1},
    "an array": np.array([1, 2]),
    "an array of no axis": np.array("x"),
    "an object": object(),
    "a function": lambda: 1,
}
CARD = make_card(train_size=(128, 128))
IMAGE = picture(100, 150, (20, 30, 60, 70))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_onnx(tmp_path_factory.mktemp("model") / "model.onnx", CARD)


@pytest.fixture(scope="module")
def network():
    return CornerNet(preset("tiny", 2))


def public_calls(model: Path, network: CornerNet) -> dict[str, tuple]:
    """Name -> (function, arguments that are right). Each of these arguments is replaced by each of WRONG."""
    detector = Detector(model, threads=1)
    found, backend = detector.predict(IMAGE)[0], FunctionBackend(bright_box, CARD)
    small = CARD.model_copy(update={"size_multiple": 32, "gmacs": {"1x1": 1.0}})
    settings = {
        name: parameter.default
        for name, parameter in inspect.signature(Detector).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    return {
        "Detector": (Detector, {"model": backend, **settings}),
        "Detector.model": (
            Detector,
            {"model": model, "threads": 1, "providers": None, "device": None, "runtime": None, "precision": None},
        ),
        "Detector.predict": (detector.predict, {"images": IMAGE, "batch_size": 1, "results": "host"}),
        "Detector.stream": (
            lambda images, **options: list(detector.stream(images, **options)),
            {"images": IMAGE, "batch_size": 1, "prefetch": 1, "results": "host"},
        ),
        "Detector.for_evaluation": (detector.for_evaluation, {}),
        "Detections.crops": (found.crops, {"image": IMAGE}),
        "Detections.picture": (lambda: found.picture, {}),
        "Detections.rows": (found.rows, {}),
        "Detections.save": (lambda image: found.save(model.with_name("a.png"), image), {"image": IMAGE}),
        "Detector.warm_up": (detector.warm_up, {"batch_size": 1, "size": (128, 128)}),
        "Detections": (Detections, {"boxes": found.boxes, "scores": found.scores, "labels": found.labels}),
        "Detections.above": (found.above, {"threshold": 0.5}),
        "Detections.select": (found.select, {"rows": [0]}),
        "Detections.draw": (found.draw, {"image": IMAGE}),
        "ModelCard.from_json": (lambda text: ModelCard.from_json(text, origin="here"), {"text": CARD.to_json()}),
        "ModelCard.is_legal_side": (CARD.is_legal_side, {"side_px": 128}),
        "read_image": (read_image, {"source": IMAGE, "max_pixels": 10**6}),
        "open_backend": (open_backend, {"path": model, "threads": 1}),
        "open_model": (open_model, {"path": model}),
        "load_coco": (load_coco, {"root": model.parent, "split": "val", "images": None, "annotations": None}),
        "load_dataset": (load_dataset, {"root": model.parent, "split": "val", "images": None, "annotations": None}),
        "find_dataset": (find_dataset, {"root": model.parent}),
        "picture_size": (picture_size, {"path": model}),
        "import_checkpoint": (import_checkpoint, {"path": model}),
        "load_checkpoint": (load_checkpoint, {"path": model}),
        "load_resume": (load_resume, {"path": model}),
        "deployed_card": (
            lambda **settings: deployed_card(network, small, **settings),
            {"precision": "fp32", "max_size": 128, "num_dets": 10, "outputs": "detections"},
        ),
    }


HARMLESS = {"close", "to_json", "to_coco", "to_supervision", "failed", "card", "backend", "names", "usual_canvas"}
"""Public members without an argument that a user could get wrong, or whose argument only stands in the result."""


def test_the_list_is_complete(model, network):
    listed = {name.partition(".")[0] for name in public_calls(model, network)}
    types = {
        "Backend",
        "DeviceDetections",
        "RawDetections",
        "Protocol",
        "Video",
    }  # plain records, an interface, and what never raises
    errors = {name for name in engine.__all__ if name.endswith("Error")}
    assert {*cornernet.__all__, *engine.__all__} <= listed | types | errors
    for kind in (Detector, Detections, ModelCard):
        own = {name for name in vars(kind) if not name.startswith("_") and callable(getattr(kind, name))}
        own -= {"model_config", *getattr(kind, "model_fields", ())}
        assert own - HARMLESS <= {name.partition(".")[2] for name in public_calls(model, network)}


def test_wrong_arguments_are_refused_in_words(model, network):
    failures = []
    for name, (function, right) in public_calls(model, network).items():
        for argument in right:
            for what, wrong in WRONG.items():
                problem = complaint(function, {**right, argument: wrong})
                if problem:
                    failures.append(f"{name}({argument}={what}): {problem}")
    assert failures == [], "\n".join(failures)


def complaint(function, arguments) -> str | None:
    """What is wrong with how `function` takes these arguments; None if nothing."""
    arguments = {name: value for name, value in arguments.items() if name != "device" or value is not None}
    try:
        result = function(**arguments)
    except CornerNetError as error:
        text = str(error)
    except (TypeError, ValueError) as error:
        text = str(error)
        if "expected" not in text:
            return f"{type(error).__name__}: {text[:200]}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    else:
        if isinstance(result, list):  # detections: every picture has its result, with a message that can be read
            text = max((found.error or "x" for found in result), key=len, default="x")
        else:
            if hasattr(result, "close"):
                result.close()
            return None
    return None if 0 < len(text) < 2000 and text.isprintable() else f"a message of {len(text)} letters: {text[:100]!r}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"score_threshold": 50}, r"score_threshold=50; expected a number from 0 to 1, such as 0.5 for 50 %"),
        ({"score_threshold": -3}, "score_threshold=-3; expected a number from 0 to 1"),
        ({"score_threshold": {"bright": 5}}, "score_threshold of bright=5; expected a number"),
        ({"size": 640}, r"size=640; expected \(height, width\) in pixels, such as \(640, 640\)"),
        ({"size": (128, 128), "resize": "original"}, 'with resize="original"; expected resize="fit"'),
        ({"devise": "cuda"}, r"no option devise for this kind of model; expected providers, threads"),
        ({"runtime": "tensorflow"}, r"runtime='tensorflow'; expected one of None, .auto., .onnxruntime., .openvino."),
        ({"providers": "CUDAExecutionProvider"}, "expected names of ONNX Runtime: "),
        ({"batch": 4}, "no option batch"),
    ],
)
def test_the_message_says_what_came_and_what_was_expected(model, settings, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Detector(model, **settings)


def test_a_constructor_that_fails_frees_the_model(model, monkeypatch):
    opened = []

    def opening(*arguments, **options):
        opened.append(real(*arguments, **options))
        return opened[-1]

    real = open_backend
    monkeypatch.setattr("cornernet.engine.backends.open.open_backend", opening)
    with pytest.raises(ValueError, match="scales="):
        Detector(model, scales=(0.0,))
    with pytest.raises(ValueError, match="score_threshold="):
        Detector(model, score_threshold=2)
    assert len(opened) == 2
    for backend in opened:
        with pytest.raises(cornernet.BackendError, match="was closed"):
            backend.run(np.zeros((1, 128, 128, 3), np.uint8))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("https://example.com/a.jpg", r"^https://example.com/a.jpg: an address is not fetched unless"),
        (Path("https://example.com/a.jpg"), r"^https:/example.com/a.jpg: an address; download it first"),
        ("data:image/png;base64," + "A" * 9000, r"^text of 9022 characters that looks like a picture in base64"),
        ("A" * 9000, r"^A{60}\.\.\. \(9000 letters\): cannot be read"),
        ("", "an empty path"),
    ],
)
def test_what_is_no_path_is_named_in_a_line(model, source, words):
    with pytest.raises(cornernet.ImageError, match=words) as error:
        read_image(source)
    assert len(str(error.value)) < 200
    with Detector(model) as detector:
        assert len(detector.predict([source])[0].error) < 200


def test_an_iterator_that_fails_loses_no_picture_before_it(model):
    def pictures():
        yield IMAGE
        yield IMAGE
        raise KeyError("the caller's own")

    with Detector(model) as detector:
        stream = detector.stream(pictures(), batch_size=8)
        assert [len(next(stream)), len(next(stream))] == [1, 1]
        with pytest.raises(KeyError, match="the caller's own"):
            next(stream)


def test_a_value_is_shown_short_and_on_one_line():
    class Odd:
        def __repr__(self):
            raise RuntimeError

    assert shown(10**5000) == "a int" or len(shown(10**5000)) < 100
    assert shown(Odd()).startswith(("a Odd", "<Odd"))
    assert len(shown("x\n" * 1000)) < 100 and "\n" not in shown(np.zeros((9, 9)))
    assert isinstance(Protocol("mine"), Protocol)
