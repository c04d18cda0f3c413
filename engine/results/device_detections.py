"""What a detector found in one image, left on the device that found it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from cornernet.engine.results.detections import Detections


@dataclass(frozen=True, eq=False, repr=False)
class DeviceDetections:
    """The same as Detections, but boxes, scores and labels are arrays on the backend's device: tensors of torch, or of
    a TensorRT engine objects with `__cuda_array_interface__`, for `torch.as_tensor(found.boxes, device="cuda")`,
    `cupy.asarray` and `numba.cuda.as_cuda_array`. Best first; None where `error` says why there are none.

    They are complete, on every stream, and the caller's own: views of a copy of their batch, which lives as long as any
    of its arrays, or what was made of them, beyond `Detector.close` too. Memory is used again once they are gone, and
    then in the order of the default stream, as torch has it: work on another stream that still reads them must be
    waited for first.
    """

    boxes: Any = None
    scores: Any = None
    labels: Any = None
    class_names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()
    image_size: tuple[int, int] | None = None
    path: str | None = None
    index: int = 0
    error: str | None = None
    decimals: int | None = None
    frame: int | None = None
    image: Any = None

    def __len__(self) -> int:
        return 0 if self.scores is None else int(self.scores.shape[0])

    def __repr__(self) -> str:
        return f"<DeviceDetections: {self.error or f'{len(self)} boxes'}>"

    def to_host(self) -> Detections:
        """A copy on the host, as `predict` gives without `results`."""
        from cornernet.engine.reading.foreign_images import tensor_to_array

        about = {field.name: getattr(self, field.name) for field in fields(self)[3:]}
        if self.error is not None:
            return Detections.failed(**about)
        boxes, scores, labels = map(tensor_to_array, (self.boxes, self.scores, self.labels))
        return Detections(boxes, scores, labels, **about)
