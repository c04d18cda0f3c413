"""What a network makes of an image: its maps, its corners, and the boxes that the deployed decoder forms of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cornernet.engine.backends import RawDetections
from cornernet.engine.errors import ModelError
from cornernet.engine.geometry import Placement
from cornernet.engine.model_card import Decoder, ModelCard
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.reading.preprocess import place_on_canvas
from cornernet.engine.reading.views import ViewPlan, canvas_to_fit
from cornernet.engine.results.detections import Detections
from cornernet.engine.results.postprocess import Suppression, suppress, to_candidates
from cornernet.engine.scoring.coco import CocoDataset, Sample
from cornernet.engine.scoring.evaluation import match_classes
from cornernet.trainer.deploy.decode import Corners, corner_group, corner_peaks, read_cells, reject_border
from cornernet.trainer.deploy.deployed import DeployedHeads
from cornernet.trainer.deploy.torch_backend import TorchBackend
from cornernet.trainer.network.checkpoint import load_checkpoint
from cornernet.trainer.network.corner_net import CornerNet, Heads, SaccadeHeads


@dataclass(frozen=True, eq=False)
class Observation:
    """One image through a network, plain view at one scale.

    image (H, W, 3) uint8 BGR; canvas (h, w, 3) uint8 in the card's channel order; heads: of the last stack, N = 1.
    """

    image: np.ndarray
    placement: Placement
    canvas: np.ndarray
    heads: Heads

    @property
    def cell_size(self) -> np.ndarray:
        """(2,) float64 [px, canvas] width and height of a cell."""
        rows, columns = self.heads.top_left_heatmap.shape[2:]
        height, width = self.placement.canvas
        return np.array([width / columns, height / rows])

    def to_cells(self, boxes_px: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) [px, image] -> (n, 4) float64 [cell]."""
        return self.placement.to_canvas(boxes_px.reshape(-1, 4), DEFAULT) / np.tile(self.cell_size, 2)

    def to_pixels(self, points_cell: np.ndarray) -> np.ndarray:
        """Points (n, 2) [cell] -> (n, 2) float32 [px, image], moved into the image."""
        boxes = np.tile(points_cell.reshape(-1, 2) * self.cell_size, 2)
        return self.placement.to_image(boxes, DEFAULT)[:, :2]


class Truth(NamedTuple):
    """The objects of one image that the model could find, and regions of many (crowds), which are nobody's error.

    boxes (n, 4), crowd_boxes (m, 4) float32 [px, image]; labels (n,), crowd_labels (m,) int, of the model.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd_boxes: np.ndarray
    crowd_labels: np.ndarray


class Network:
    """A checkpoint, how it places images on canvases, and how its maps become boxes. Raises ModelError."""

    def __init__(
        self, network: CornerNet, card: ModelCard, resize: str | None = None, device: str | None = None
    ) -> None:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.config, self.card, self._device = network.config, card, device
        self.module = network.to(device).eval()
        self._deployed = DeployedHeads(network, card).to(device)
        fit = canvas_to_fit(card, DEFAULT, resize, None)
        self._plan = ViewPlan(card, DEFAULT, fit=fit, scales=(1.0,), mirror=False)

    @classmethod
    def open(cls, checkpoint: Path, resize: str | None = None, device: str | None = None) -> Network:
        """Of a .safetensors file: an exported model no longer has its maps."""
        return cls(*load_checkpoint(checkpoint), resize, device)

    def observe(self, image: np.ndarray) -> Observation:
        """Maps of an image (H, W, 3) uint8 BGR. Raises ImageError if its canvas would be too large for the model."""
        (placement,) = self._plan.placements((image.shape[0], image.shape[1]))
        canvas = place_on_canvas(image, placement, self.card, DEFAULT)
        return Observation(image, placement, canvas, self.maps(canvas))

    def maps(self, canvas: np.ndarray) -> Heads:
        """The maps of a canvas (h, w, 3) uint8 in the card's channel order, on the CPU, as an exported model's."""
        found = self._heads(canvas)
        return Heads(*(head.cpu() for head in (found.corners if isinstance(found, SaccadeHeads) else found)))

    def attention(self, canvas: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of a Saccade: the attention of its three levels, large objects first, (h, w) float32 each, in 0..1."""
        found = self._heads(canvas)
        if not isinstance(found, SaccadeHeads):
            raise ModelError(f"{self.card.name} is no CornerNet-Saccade: there is no attention to show")
        return tuple(level[0, 0].sigmoid().cpu().numpy() for level in found.attention)

    def backend(self) -> TorchBackend:
        """The same weights as they are deployed."""
        return TorchBackend(self.module, self.card, device=self._device)

    def _heads(self, canvas: np.ndarray) -> Heads | SaccadeHeads:
        with torch.inference_mode():
            found: Heads | SaccadeHeads = self._deployed(torch.from_numpy(canvas)[None].to(self._device))
        return found

    def pool_inputs(self, canvas: np.ndarray) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """What enters the last top-left and bottom-right corner pooling: two (1, C, h, w) maps each, on the CPU."""
        entered: list[Tensor] = []
        features, corner_modules = self._deployed.features, self.module.corners[-1]
        inputs = [getattr(module, name) for module in corner_modules.children() for name in ("vertical", "horizontal")]
        hooks = [module.register_forward_hook(lambda _m, _i, output: entered.append(output.cpu())) for module in inputs]
        try:
            with torch.inference_mode():
                pixels = torch.from_numpy(canvas)[None].to(self._device).float().permute(0, 3, 1, 2)
                self.module.corner_features((pixels - features.mean) * features.scale)
        finally:
            for hook in hooks:
                hook.remove()
        return (entered[0], entered[1]), (entered[2], entered[3])

    def detect(self, seen: Observation, heads: Heads | None = None) -> Detections:
        """The final boxes of an observation; `heads`: maps to decode in place of its own."""
        found = decode(heads or seen.heads, seen.cell_size, self.card.decoder)
        views = [to_candidates(found, 0, seen.placement, DEFAULT)]
        boxes, scores, labels = suppress(views, Suppression(), DEFAULT)
        return Detections(boxes, scores, labels, self.card.class_names, self.card.category_ids, seen.placement.image)


def corners(heads: Heads, decoder: Decoder) -> tuple[Corners, Corners]:
    """The K strongest peaks of both branches with embedding and position [cell], as the deployed decoder reads them."""
    branches = (
        (heads.top_left_heatmap, heads.top_left_embedding, heads.top_left_offset),
        (heads.bottom_right_heatmap, heads.bottom_right_embedding, heads.bottom_right_offset),
    )
    first, second = (_branch_corners(*maps, decoder, last=last) for maps, last in zip(branches, (False, True)))
    return first, second


def _branch_corners(heatmap: Tensor, embedding: Tensor, offset: Tensor, decoder: Decoder, *, last: bool) -> Corners:
    scores, labels, cells = corner_peaks(heatmap, decoder.top_k)
    if decoder.reject_border:
        labels = reject_border(labels, cells, heatmap, last=last)
    return Corners(scores, labels, *read_cells(embedding, offset, cells, clamp=decoder.clamp_corners))


def decode(heads: Heads, cell_size: np.ndarray, decoder: Decoder) -> RawDetections:
    """Maps -> the five outputs of the ONNX contract, boxes in canvas pixels; cell_size (2,) width, height [px]."""
    pairs = corner_group(*corners(heads, decoder), decoder.num_dets, decoder.max_distance, decoder.reject_zero_size)
    boxes, *others = (values.numpy() for values in pairs)
    return RawDetections(boxes * np.tile(cell_size, 2).astype(np.float32), *others)


class SharedClasses:
    """Which class of the model is which of the data set. Raises DatasetError if they have none in common."""

    def __init__(self, card: ModelCard, dataset: CocoDataset) -> None:
        self.category_of_label, self.notes = match_classes(card.class_names, card.category_ids, dataset)
        label_of_category = {category: label for label, category in enumerate(self.category_of_label)}
        self._label = np.array([label_of_category.get(category, -1) for category in dataset.category_ids])

    def truth(self, sample: Sample) -> Truth:
        """The sample's objects; those of classes that the model does not know are left out."""
        labels = self._label[sample.labels]
        objects, crowds = (labels >= 0) & ~sample.crowd, (labels >= 0) & sample.crowd
        return Truth(sample.boxes[objects], labels[objects], sample.boxes[crowds], labels[crowds])
