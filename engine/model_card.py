"""What a model file says about itself, and the names of the ONNX contract (design: one file is the product).

The card travels as JSON in the metadata of checkpoint, ONNX file and engine. Nothing is parsed from file names.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from cornernet.engine.arguments import integer
from cornernet.engine.errors import ModelError

METADATA_KEY = "cornernet_card"
"""Key under which the card's JSON is stored (safetensors metadata, ONNX metadata_props, engine sidecar)."""

INPUT = "images"
OUTPUTS = ("boxes", "scores", "corner_scores", "labels", "counts")
ATTENTION_OUTPUTS = ("attention_scores", "attention_cells")
"""What the file of a CornerNet-Saccade gives beside OUTPUTS, see `SaccadeDetections`."""

HEAD_OUTPUTS = (
    "tl_heatmap",
    "br_heatmap",
    "tl_embedding",
    "br_embedding",
    "tl_offset",
    "br_offset",
)
ATTENTION_MAPS = ("large_attention", "medium_attention", "small_attention")
"""What a file of raw maps of a CornerNet-Saccade gives beside HEAD_OUTPUTS."""

LONGEST_SIDE = 16384
"""No card may promise longer canvas sides [px]: one image of this size takes 0.8 GB before the network sees it."""

# Beyond these a runtime would overflow, divide by zero or ask for absurd memory long after the file was opened.
_Mean = Annotated[float, Field(ge=-1000, le=1000)]
_Deviation = Annotated[float, Field(ge=1e-6, le=1000)]
_Byte = Annotated[int, Field(ge=0, le=255)]
_Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]
_Score = Annotated[float, Field(ge=0, le=1)]
_CategoryId = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Stride = Annotated[int, Field(ge=1, le=256)]
_Zoom = Annotated[float, Field(gt=0, le=64)]
_Length = Annotated[float, Field(gt=0, le=LONGEST_SIDE)]


class _Frozen(BaseModel):
    """NEWER: fields that came after format 1. Where one says nothing it is left out of the JSON: older versions, which
    refuse what they do not know, read the file too."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    NEWER: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap", when_used="json")
    def _without_silent_fields(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        silent = [name for name in self.NEWER if getattr(self, name) == type(self).model_fields[name].default]
        return {name: value for name, value in serialise(self).items() if name not in silent}


class Decoder(_Frozen):
    """How corners become boxes (section 3.3, 4.2; official `_decode`)."""

    NEWER = ("reject_border",)

    top_k: int = Field(default=100, ge=1, le=1000, description="corners kept per branch")
    num_dets: int = Field(default=1000, ge=1, le=3840, description="rows of the output; TensorRT's TopK stops at 3840")
    max_distance: float = Field(default=0.5, gt=0, description="largest embedding difference of one object's corners")
    clamp_corners: bool = Field(
        default=False, description="mmdetection: corner coordinates below 0 become 0 before pairing"
    )
    reject_zero_size: bool = Field(default=False, description="mmdetection: boxes of zero width or height are rejected")
    reject_border: bool = Field(
        default=False, description="CornerNet-Saccade: corners in the border cells of their own sides are rejected"
    )


class Saccade(_Frozen):
    """How a CornerNet-Saccade looks twice (CornerNet-Lite, section 3). Views are the whole image, scaled down; crops
    are windows of it, zoomed. Each is one canvas of `ModelCard.train_size`. Levels, in order: large, medium, small.

    view_sizes: longer side of the image on each view's canvas [px].
    attention_strides: canvas pixels per cell of each level's attention map [px/cell].
    zooms: of the crops that each level asks for, relative to the view that it was seen in.
    attention_threshold: attention above this asks for a crop.
    view_threshold, reference_threshold: boxes of the views above these enter the result, and ask for a crop.
    reference_bounds, reference_sizes: the first such box whose longer side is above the bound [px, image], the last one
        without, gets a crop that shows it so long [px, canvas].
    max_crops: the best so many are looked at; 0: the views alone.
    locations: attention peaks that the file gives of each level.
    sigma: of the soft-NMS over the boxes of all views and crops.
    """

    view_sizes: tuple[_Side, ...] = Field(default=(192, 255), min_length=1, max_length=16)
    attention_strides: tuple[_Stride, _Stride, _Stride] = (16, 8, 4)
    zooms: tuple[_Zoom, _Zoom, _Zoom] = (1, 2, 4)
    attention_threshold: _Score = 0.3
    view_threshold: _Score = 0.3
    reference_threshold: _Score = 0.5
    reference_bounds: tuple[_Length, _Length] = (96, 32)
    reference_sizes: tuple[_Length, _Length, _Length] = (192, 64, 24)
    max_crops: int = Field(default=30, ge=0, le=1000)
    locations: int = Field(default=256, ge=1, le=3840, description="TensorRT's TopK stops at 3840")
    sigma: float = Field(default=0.7, gt=0, le=100)

    @model_validator(mode="after")
    def _descends(self) -> Saccade:
        if self.reference_bounds[0] <= self.reference_bounds[1]:
            raise ValueError(f"reference_bounds {self.reference_bounds} do not descend, from large to small")
        return self


class ModelCard(_Frozen):
    """Everything a runtime must know to use the file.

    mean, std: of pixel values scaled to [0, 1], in `channel_order`.
    fill:      pixel value of the padding, in `channel_order` (uint8).
    stride:    canvas pixels per heatmap cell [px/cell].
    size_multiple: canvas sides are legal if rounding up to the next multiple adds fewer than `stride` pixels
        (hourglass-104: 125..128 modulo 128).
    max_size:  longest canvas side the file accepts [px]; bounds the corner pooling kernels.
    train_size: (height, width) [px] of the training canvas; None: unknown.
    test_mirror: whether the project of the weights tests with the mirrored view too; None: it says nothing of its own.
    score_thresholds: per class the lowest score that is worth showing, as `cornernet evaluate --write-threshold` finds
        it; None: nobody measured it.
    saccade: of a CornerNet-Saccade, how it looks twice; None: the network looks once.
    trained_mirror: how training mirrored a corner x on a canvas of width W, which is how the network sees mirrored
        images: "edges" W - x (this project, mmdetection), "pixels" W - 1 - x (the official code).
    """

    NEWER = ("test_mirror", "score_thresholds", "saccade")

    format: Literal[1] = 1
    name: str
    class_names: tuple[str, ...] = Field(min_length=1)
    category_ids: tuple[_CategoryId, ...] = Field(min_length=1)
    channel_order: Literal["bgr", "rgb"] = "bgr"
    mean: tuple[_Mean, _Mean, _Mean] = (0.40789654, 0.44719302, 0.47026115)
    std: tuple[_Deviation, _Deviation, _Deviation] = (0.28863828, 0.27408164, 0.27809835)
    fill: tuple[_Byte, _Byte, _Byte] = (0, 0, 0)
    stride: int = Field(default=4, ge=1, le=256)
    size_multiple: int = Field(default=128, ge=1, le=4096)
    max_size: _Side = 1024
    train_size: tuple[_Side, _Side] | None = None
    test_mirror: bool | None = None
    score_thresholds: tuple[_Score, ...] | None = None
    trained_mirror: Literal["edges", "pixels"] = "edges"
    decoder: Decoder = Decoder()
    saccade: Saccade | None = None
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    outputs: Literal["detections", "heads"] = "detections"
    parameters: int | None = None
    gmacs: dict[str, float] = {}
    versions: dict[str, str] = {}
    source: str = ""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> ModelCard:
        if len(self.class_names) != len(self.category_ids):
            raise ValueError(f"{len(self.class_names)} class names but {len(self.category_ids)} category ids")
        if self.score_thresholds is not None and len(self.score_thresholds) != len(self.class_names):
            raise ValueError(f"{len(self.class_names)} class names but {len(self.score_thresholds)} score thresholds")
        if len(set(self.category_ids)) < len(self.category_ids):
            raise ValueError("two classes have the same category id")
        if self.size_multiple % self.stride:
            raise ValueError(f"size_multiple {self.size_multiple} is no multiple of stride {self.stride}")
        if self.size_multiple - self.stride >= self.max_size:
            raise ValueError(f"no canvas is legal: multiples of {self.size_multiple} up to {self.max_size} px")
        if self.train_size and not all(map(self._on_grid, self.train_size)):
            raise ValueError(f"train_size {self.train_size} is no canvas of multiples of {self.size_multiple}")
        if self.saccade is not None:
            self._suits(self.saccade)
        return self

    def _suits(self, saccade: Saccade) -> None:
        if self.train_size is None or self.train_size[0] != self.train_size[1]:
            raise ValueError(f"saccade, but train_size {self.train_size} is no square: views and crops are")
        if not all(map(self.is_legal_side, self.train_size)):
            raise ValueError(f"saccade, but its canvas of {self.train_size} is longer than max_size {self.max_size}")
        if max(saccade.view_sizes) > self.train_size[0]:
            raise ValueError(f"view_sizes {saccade.view_sizes} are longer than the canvas of {self.train_size[0]} px")
        if any(self.size_multiple % stride for stride in saccade.attention_strides):
            raise ValueError(f"size_multiple {self.size_multiple} is no multiple of {saccade.attention_strides}")

    @property
    def detection_outputs(self) -> tuple[str, ...]:
        """Names of what a file that gives detections gives, in order."""
        return OUTPUTS if self.saccade is None else OUTPUTS + ATTENTION_OUTPUTS

    @property
    def float_canvases(self) -> bool:
        """Whether canvases may be float32, grey levels that are not whole: the project of the weights interpolates
        them and never rounds. A CornerNet-Saccade's; others resize pictures in uint8."""
        return self.saccade is not None

    @property
    def soft_nms_sigma(self) -> float:
        """What the project of the weights suppresses with."""
        return 0.5 if self.saccade is None else self.saccade.sigma

    @property
    def map_outputs(self) -> tuple[str, ...]:
        """Names of what a file that gives raw maps gives, in order."""
        return HEAD_OUTPUTS if self.saccade is None else HEAD_OUTPUTS + ATTENTION_MAPS

    @property
    def usual_canvas(self) -> tuple[int, int]:
        """(height, width) [px] of training; if unknown or too large, the legal square of at most 512, or the least."""
        if self.train_size and all(map(self.is_legal_side, self.train_size)):
            return self.train_size
        side = max(1, min(self.max_size, 512) // self.size_multiple) * self.size_multiple
        return min(side, self.max_size), min(side, self.max_size)

    def is_legal_side(self, side_px: int) -> bool:
        """True if a canvas side of `side_px` [px] gives the same map sizes going down and up the hourglass."""
        return integer("side_px", side_px, least=-(2**63)) <= self.max_size and self._on_grid(side_px)

    def _on_grid(self, side_px: int) -> bool:
        return side_px > 0 and -side_px % self.size_multiple < self.stride

    def to_json(self) -> str:
        """The card as it is stored."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str, *, origin: str) -> ModelCard:
        """Parse a card. Raises ModelError naming `origin` and the first wrong field; TypeError if `text` is none."""
        if not isinstance(text, str | bytes):
            raise TypeError(f"text is a {type(text).__name__}; expected JSON")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "card"
            raise ModelError(
                f"{origin}: the model card is not valid: {where}: {first['msg']}. "
                "Write the file again with `cornernet export` of this version."
            ) from error
