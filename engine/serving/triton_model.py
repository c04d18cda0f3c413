"""What Triton's Python backend runs: pictures in, final boxes out; the network is another model of the same server.

A `Detector` does everything but the network, so a client gets the boxes that `Detector.predict` gives. The network's
canvases go through the server's own queue, where its dynamic batcher joins those of all instances of this model.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from cornernet.engine.backends import Outputs, named_outputs
from cornernet.engine.detector import Detector
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import INPUT, ModelCard
from cornernet.engine.results.detections import Detections

CARD_FILE = "card.json"
"""Beside model.py in the version's folder."""


class TritonNetwork:
    """A `Backend`: the model `name` of the same server."""

    def __init__(self, name: str, card: ModelCard) -> None:
        self.name = f"Triton's model {name}"
        self.card = card
        self._model = name

    def run(self, canvases: np.ndarray) -> Outputs:
        """See `Backend.run`. Raises BackendError with the server's words."""
        request = pb_utils.InferenceRequest(
            model_name=self._model,
            requested_output_names=list(self.card.detection_outputs),
            inputs=[pb_utils.Tensor(INPUT, np.ascontiguousarray(canvases))],
            # Of a GPU's outputs too: post-processing reads them on the CPU.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if response.has_error():
            raise BackendError(response.error().message())
        names = self.card.detection_outputs
        raw = named_outputs([pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in names])
        return raw._replace(counts=raw.counts.reshape(-1))  # Triton has no scalars: (N, 1)

    def close(self) -> None:
        """Nothing is held: the server owns the network."""


class TritonPythonModel:
    """The class that the backend looks for. One instance a process; the server starts as many as its configuration
    says."""

    def initialize(self, args: dict[str, Any]) -> None:
        """args: of the backend. The configuration's parameters name the network and a Detector's settings."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        settings: dict[str, Any] = json.loads(parameters["settings"])
        if settings.get("size"):
            settings["size"] = tuple(settings["size"])
        path = Path(args["model_repository"]) / str(args["model_version"]) / CARD_FILE
        card = ModelCard.from_json(path.read_text(encoding="utf-8"), origin=str(path))
        self._detector = Detector(TritonNetwork(parameters["network"], card), **settings)
        self._batch = max(1, int(config["max_batch_size"]))

    def execute(self, requests: list[Any]) -> list[Any]:
        """A response per request, in order. What is wrong with one request or picture is said there alone."""
        pictures: list[list[bytes | np.ndarray] | str] = [_pictures(request) for request in requests]
        sources = [picture for some in pictures if isinstance(some, list) for picture in some]
        found = iter(self._detector.predict(sources, batch_size=self._batch))
        return [
            pb_utils.InferenceResponse([], error=pb_utils.TritonError(some))
            if isinstance(some, str)
            else pb_utils.InferenceResponse(
                [pb_utils.Tensor(*item) for item in to_tensors([next(found) for _ in some])]
            )
            for some in pictures
        ]

    def finalize(self) -> None:
        self._detector.close()


def _pictures(request: Any) -> list[bytes | np.ndarray] | str:
    """The pictures of a request, or what is wrong with it."""
    encoded = pb_utils.get_input_tensor_by_name(request, "encoded")
    pixels = pb_utils.get_input_tensor_by_name(request, "pixels")
    if (encoded is None) == (pixels is None):
        return "expected one of two inputs: encoded (bytes of picture files), or pixels (uint8, BGR)"
    values = (pixels if encoded is None else encoded).as_numpy()
    if values.size == 0:
        # Servers of 2024 give empty arrays, and no error, to a Python that has numpy 2.
        return "no pictures came: the request is empty, or this server is too old for the numpy of its Python"
    return list(values) if encoded is None else [bytes(file) for file in values.reshape(-1)]


def to_tensors(found: list[Detections]) -> list[tuple[str, np.ndarray]]:
    """Name and values of each output for N pictures; rows beyond a picture's count are 0, score and label -1.

    boxes (N, n, 4) float32 [px, image], scores (N, n) float32, labels (N, n) int32, names (N, n) bytes,
    counts (N, 1) int32, image_size (N, 2) int32 height and width [px], errors (N, 1) bytes, empty where all is well.
    """
    images, rows = len(found), max((len(one) for one in found), default=0)
    boxes = np.zeros((images, rows, 4), np.float32)
    scores = np.full((images, rows), -1, np.float32)
    labels = np.full((images, rows), -1, np.int32)
    names = np.full((images, rows), b"", object)
    for image, one in enumerate(found):
        count = len(one)
        boxes[image, :count], scores[image, :count], labels[image, :count] = one.boxes, one.scores, one.labels
        names[image, :count] = [name.encode("utf-8", "backslashreplace") for name in one.names]
    errors = [[(one.error or "").encode("utf-8", "backslashreplace")] for one in found]
    return [
        ("boxes", boxes),
        ("scores", scores),
        ("labels", labels),
        ("names", names),
        ("counts", np.array([[len(one)] for one in found], np.int32).reshape(images, 1)),
        ("image_size", np.array([one.image_size or (0, 0) for one in found], np.int32).reshape(images, 2)),
        ("errors", np.array(errors, object).reshape(images, 1)),
    ]
