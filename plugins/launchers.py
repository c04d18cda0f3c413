"""The C entry points of libcornernet_plugins.so, for ctypes. Arguments are device addresses (int), shapes and a stream.

The contracts stand in kernels/corner_*.h and place_views.h; the names are the same here. Works with any source of
device memory: PyCUDA, CuPy, torch (`tensor.data_ptr()`), cuda-python, or `cornernet.plugins.driver`.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path

TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}
LAYOUTS = {"planes": 0, "channels_last_8": 1}
CORNERS = {"top_left": 0, "bottom_right": 1}
SCALINGS = {"bilinear": 0, "areas": 1, "bilinear_floats": 2}
SOFT_NMS = {None: 0, "gaussian": 1, "linear": 2, "hard": 3}

_address, _int = ctypes.c_void_p, ctypes.c_int32


class View(ctypes.Structure):
    """CornernetView of kernels/place_views.h."""

    _fields_ = (
        ("pixels", _address),
        *((name, ctypes.c_int64) for name in ("row_stride", "pixel_stride", "channel_stride")),
        *((name, _int) for name in ("rows", "columns", "resized_rows", "resized_columns", "top", "left")),
        *((name, _int) for name in ("shown_rows", "shown_columns", "mirrored", "scaling")),
    )


_SIGNATURES = {
    "cornernet_corner_pool": (_int, [_address] * 3 + [_int] * 7 + [_address]),
    "cornernet_corner_peaks": (_int, [_address] * 5 + [_int] * 6 + [_address]),
    "cornernet_corner_peaks_workspace": (ctypes.c_size_t, [_int] * 5),
    "cornernet_corner_windows": (_int, [_address] * 5 + [_int] * 8 + [_address]),
    "cornernet_corner_group": (_int, [_address] * 3 + [_int] * 3 + [ctypes.c_float, _int, _address]),
    "cornernet_corner_group_workspace": (ctypes.c_size_t, [_int] * 2),
    "cornernet_place_views": (_int, [ctypes.POINTER(View), _int, _address, _int, _int, ctypes.c_char_p, _address]),
    "cornernet_place_float_views": (
        _int,
        [ctypes.POINTER(View), _int, _address, *[_int] * 3, ctypes.c_char_p, _address],
    ),
    "cornernet_device_of": (_int, [_address]),
    "cornernet_corner_soft_nms": (_int, [_address] * 2 + [_int] * 4 + [ctypes.c_float] * 4 + [_int, _address]),
    "cornernet_cuda_version": (_int, []),
}


_OTHER_GPU = "the library was not built for this GPU: build it again, -DCMAKE_CUDA_ARCHITECTURES names what for"
_OLD_DRIVER = "the NVIDIA driver is older than the CUDA toolkit that built the library"
_HINTS = {
    1: "an argument is outside the range its header allows",
    35: _OLD_DRIVER,
    98: _OTHER_GPU,
    209: _OTHER_GPU,
    222: _OLD_DRIVER,
    400: "the stream belongs to another device than the current one",
}


class LaunchError(RuntimeError):
    """A launcher returned something other than cudaSuccess; `.code` is the cudaError_t."""

    def __init__(self, entry_point: str, code: int):
        hint = _HINTS.get(code, "see cudaError_t in the CUDA documentation")
        super().__init__(f"{entry_point} returned CUDA error {code}: {hint}")
        self.code = code


class Launchers:
    """One loaded library. Every call enqueues on `stream` and returns at once."""

    def __init__(self, library: Path | str):
        self.library = ctypes.CDLL(str(library))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self.library, name)
            function.restype, function.argtypes = result, arguments

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self.library, name)(*arguments)
        if code != 0:
            raise LaunchError(name, code)

    def corner_pool(
        self,
        first: int,
        second: int,
        pooled: int,
        shape: Sequence[int],
        *,
        corner: str,
        type: str,
        layout: str = "planes",
        stream: int = 0,
    ) -> None:
        """`shape` (N, C, h, w) also for channels last."""
        self._call(
            "cornernet_corner_pool",
            first,
            second,
            pooled,
            *shape,
            TYPES[type],
            LAYOUTS[layout],
            CORNERS[corner],
            stream,
        )

    def corner_peaks(
        self,
        logits: int,
        scores: int,
        labels: int,
        cells: int,
        workspace: int,
        shape: Sequence[int],
        *,
        top_k: int,
        type: str,
        stream: int = 0,
    ) -> None:
        self._call(
            "cornernet_corner_peaks", logits, scores, labels, cells, workspace, *shape, top_k, TYPES[type], stream
        )

    def corner_peaks_workspace(self, shape: Sequence[int], top_k: int) -> int:
        return self.library.cornernet_corner_peaks_workspace(*shape, top_k)

    def corner_windows(
        self,
        features: int,
        cells: int,
        windows: int,
        columns: int,
        rows: int,
        shape: Sequence[int],
        slots: int,
        *,
        size: int,
        type: str,
        layout: str = "planes",
        stream: int = 0,
    ) -> None:
        """`shape` (N, C, h, w) of the features, also for channels last."""
        addresses = features, cells, windows, columns, rows
        self._call("cornernet_corner_windows", *addresses, *shape, slots, size, TYPES[type], LAYOUTS[layout], stream)

    def corner_group(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        workspace: int,
        images: int,
        corners: int,
        *,
        num_dets: int,
        max_distance: float = 0.5,
        reject_zero_size: bool = False,
        stream: int = 0,
    ) -> None:
        pointers_in, pointers_out = (_address * len(inputs))(*inputs), (_address * len(outputs))(*outputs)
        self._call(
            "cornernet_corner_group",
            pointers_in,
            pointers_out,
            workspace,
            images,
            corners,
            num_dets,
            max_distance,
            reject_zero_size,
            stream,
        )

    def corner_group_workspace(self, images: int, corners: int) -> int:
        return self.library.cornernet_corner_group_workspace(images, corners)

    def corner_soft_nms(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        images: int,
        candidates: int,
        *,
        limit: int,
        method: str | None = "gaussian",
        sigma: float = 0.5,
        iou_threshold: float = 0.5,
        min_score: float = 0.001,
        iou_pixel: float = 0,
        drop_empty: bool = False,
        stream: int = 0,
    ) -> None:
        """The settings of `cornernet.engine.results.postprocess.Suppression`."""
        pointers_in, pointers_out = (_address * len(inputs))(*inputs), (_address * len(outputs))(*outputs)
        rules = limit, SOFT_NMS[method], sigma, iou_threshold, min_score, iou_pixel, drop_empty
        self._call("cornernet_corner_soft_nms", pointers_in, pointers_out, images, candidates, *rules, stream)

    def place_views(
        self, views: Sequence[View], canvases: int, size: tuple[int, int], fill: Sequence[int], *, stream: int = 0
    ) -> None:
        """canvases: address of (len(views), *size, 3) uint8. fill: three values in the canvas's channel order."""
        self._call(
            "cornernet_place_views", (View * len(views))(*views), len(views), canvases, *size, bytes(fill), stream
        )

    def place_float_views(
        self,
        views: Sequence[View],
        canvases: int,
        size: tuple[int, int],
        fill: Sequence[int],
        *,
        whole: bool,
        stream: int = 0,
    ) -> None:
        """The same with canvases of float32, rounded as uint8 is if `whole`."""
        described = (View * len(views))(*views)
        self._call("cornernet_place_float_views", described, len(views), canvases, *size, whole, bytes(fill), stream)

    def device_of(self, address: int) -> int | None:
        """Index of the device whose memory `address` lies in; None for host memory or no memory at all."""
        device = self.library.cornernet_device_of(address)
        return device if device >= 0 else None
