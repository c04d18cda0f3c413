"""The five operators of domain `cornernet` as ONNX functions: their definition in standard operators.

ONNX Runtime, and TensorRT without our library, run these bodies; TensorRT with our library puts a plugin in place of
the node. Each body says what tests/oracles.py says, for float32 and float16 inputs (CastLike). Sizes and limits are
literal numbers: TensorRT's parser does not resolve every reference to a node's attributes (MaxPool.kernel_shape).
Corner pooling leaves undefined what a cell gets that looks towards a NaN (plugins/kernels/corner_pool.h): MaxPool does.
No function calls another: parsers that prefer plugins look for them in the main graph only.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser

DOMAIN, VERSION = "cornernet", 1
OPSET = 18
PLUGIN_ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}
"""Asked for by TensorRT 10.15+: without them its parser prefers the function to the plugin."""

_CORNER_POOL = """
<domain: "cornernet", opset_import: ["" : 18]>
{name} (a, b) => (y) {{
    low_value = Constant<value = float {{-inf}}>()
    low = CastLike(low_value, a)
    {vertical}
    {horizontal}
    y = Add(vertical, horizontal)
}}
"""
# Along one axis; {window} is a kernel of `block` or `blocks` cells on it.
_SCAN = """
    {way}_near_pads = Constant<value = int64[8] {{{near_pads}}}>()
    {way}_padded = Pad({x}, {way}_near_pads, low)
    {way}_near = MaxPool<kernel_shape = [{block}]>({way}_padded)
    {way}_block = MaxPool<kernel_shape = [{block}], strides = [{block}]>({x})
    {way}_far_pads = Constant<value = int64[8] {{{far_pads}}}>()
    {way}_blocks = Pad({way}_block, {way}_far_pads, low)
    {way}_beyond = MaxPool<kernel_shape = [{blocks}]>({way}_blocks)
    {way}_scale = Constant<value = float[4] {{1.0, 1.0, {block_scale}}}>()
    {way}_far = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
        ({way}_beyond, none, {way}_scale)
    {way} = Max({way}_near, {way}_far)"""

# Where(is_peak, values, low) would cost ONNX Runtime two branches a cell, guessed wrong at the peaks. 1 - 1 / x of true
# and false is 0 and -inf; their sums with `values` are the same choice, for +inf is a peak wherever it is. OpenVINO
# makes one pass of it, as long as nothing is read twice.
_CORNER_PEAKS = """
<domain: "cornernet", opset_import: ["" : 18]>
CornerPeaks <top_k> (logits) => (scores, labels, cells) {{
    low_value = Constant<value = float {{-inf}}>()
    low = CastLike(low_value, logits)
    unknown = IsNaN(logits)
    values = Where(unknown, low, logits)
    window = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(values)
    is_peak = Equal(values, window)
    one_value = Constant<value = float {{1.0}}>()
    one = CastLike(one_value, logits)
    chosen = CastLike(is_peak, logits)
    inverse = Div(one, chosen)
    penalty = Sub(one, inverse)
    peaks = Add(values, penalty)
    row = Constant<value = int64[2] {{0, -1}}>()
    flat = Reshape(peaks, row)
    {pad}
    k = Constant<value = int64[1] {{{top_k}}}>()
    best, index = TopK<axis = 1>({candidates}, k)
    best_wide = Cast<to = 1>(best)
    found = Greater(best_wide, low_value)
    sides = Shape<start = 2, end = 4>(logits)
    cells_per_map = ReduceProd<keepdims = 1>(sides)
    class = Div(index, cells_per_map)
    first_cell = Mul(class, cells_per_map)
    cell = Sub(index, first_cell)
    probability = Sigmoid(best_wide)
    no_score = Constant<value = float {{0.0}}>()
    scores = Where(found, probability, no_score)
    no_label = Constant<value = int64 {{-1}}>()
    label = Where(found, class, no_label)
    labels = Cast<to = 6>(label)
    no_cell = Constant<value = int64 {{0}}>()
    used_cell = Where(found, cell, no_cell)
    cells = Cast<to = 6>(used_cell)
}}
"""
_PAD = """missing = Constant<value = int64[4] {{0, 0, 0, {missing}}}>()
    filled = Pad(flat, missing, {fill})"""

_CORNER_WINDOWS = """
<domain: "cornernet", opset_import: ["" : 18]>
CornerWindows <size> (features, cells) => (windows, columns, rows) {{
    height = Shape<start = 2, end = 3>(features)
    width = Shape<start = 3, end = 4>(features)
    channels = Shape<start = 1, end = 2>(features)
    cell = Cast<to = 7>(cells)
    row = Div(cell, width)
    row_start = Mul(row, width)
    column = Sub(cell, row_start)
    columns = Cast<to = 1>(column)
    rows = Cast<to = 1>(row)
    line = Constant<value = int64[3] {{0, 0, -1}}>()
    flat = Reshape(features, line)
    one = Constant<value = int64[1] {{1}}>()
    every_channel = Concat<axis = 0>(one, channels, one)
    {read}
}}
"""
_READ_CELLS = """of_image = Unsqueeze(cell, one)
    index = Expand(of_image, every_channel)
    values = GatherElements<axis = 2>(flat, index)
    last = Constant<value = int64[1] {{3}}>()
    windows = Unsqueeze(values, last)"""
# Cell by cell of the window, each with all K slots, so that what is gathered lies as the convolution wants it.
_READ_WINDOWS = """down = Constant<value = int64[1, {area}, 1] {{{down}}}>()
    right = Constant<value = int64[1, {area}, 1] {{{right}}}>()
    center_row = Unsqueeze(row, one)
    center_column = Unsqueeze(column, one)
    window_row = Add(center_row, down)
    window_column = Add(center_column, right)
    zero = Constant<value = int64[1] {{0}}>()
    below_top = GreaterOrEqual(window_row, zero)
    above_bottom = Less(window_row, height)
    in_rows = And(below_top, above_bottom)
    after_left = GreaterOrEqual(window_column, zero)
    before_right = Less(window_column, width)
    in_columns = And(after_left, before_right)
    inside = And(in_rows, in_columns)
    window_start = Mul(window_row, width)
    window_cell = Add(window_start, window_column)
    used_cell = Where(inside, window_cell, zero)
    one_line = Constant<value = int64[3] {{0, 1, -1}}>()
    of_image = Reshape(used_cell, one_line)
    inside_line = Reshape(inside, one_line)
    index = Expand(of_image, every_channel)
    gathered = GatherElements<axis = 2>(flat, index)
    nothing_value = Constant<value = float {{0.0}}>()
    nothing = CastLike(nothing_value, features)
    values = Where(inside_line, gathered, nothing)
    area = Constant<value = int64[1] {{{area}}}>()
    depth = Mul(channels, area)
    all_slots = Constant<value = int64[1] {{-1}}>()
    shape = Concat<axis = 0>(zero, depth, all_slots, one)
    windows = Reshape(values, shape)"""

_CORNER_GROUP = """
<domain: "cornernet", opset_import: ["" : 18]>
CornerGroup <num_dets, max_distance, reject_zero_size>
(s1, l1, e1, x1, y1, s2, l2, e2, x2, y2) => (boxes, scores, corner_scores, labels, counts) {{
    column = Constant<value = int64[1] {{2}}>()
    row = Constant<value = int64[1] {{1}}>()
    s1_column = Unsqueeze(s1, column)
    s2_row = Unsqueeze(s2, row)
    sum = Add(s1_column, s2_row)
    half = Constant<value = float {{0.5}}>()
    mean = Mul(sum, half)
    l1_column = Unsqueeze(l1, column)
    l2_row = Unsqueeze(l2, row)
    one_class = Equal(l1_column, l2_row)
    no_label = Constant<value = int32 {{-1}}>()
    used = Greater(l1_column, no_label)
    e1_column = Unsqueeze(e1, column)
    e2_row = Unsqueeze(e2, row)
    difference = Sub(e1_column, e2_row)
    distance = Abs(difference)
    limit = Constant<value = float {{{max_distance}}}>()
    near = LessOrEqual(distance, limit)
    x1_column = Unsqueeze(x1, column)
    x2_row = Unsqueeze(x2, row)
    left_of = {compare}(x2_row, x1_column)
    y1_column = Unsqueeze(y1, column)
    y2_row = Unsqueeze(y2, row)
    above = {compare}(y2_row, y1_column)
    same_class = And(one_class, used)
    ordered = And(left_of, above)
    related = And(same_class, near)
    is_pair = And(related, ordered)
    no_pair = Constant<value = float {{-1.0}}>()
    pairs = Where(is_pair, mean, no_pair)
    line = Constant<value = int64[2] {{0, -1}}>()
    flat = Reshape(pairs, line)
    {pad}
    rows = Constant<value = int64[1] {{{num_dets}}}>()
    scores, index = TopK<axis = 1>({candidates}, rows)
    zero = Constant<value = float {{0.0}}>()
    found = GreaterOrEqual(scores, zero)
    first_pair = Constant<value = int64 {{0}}>()
    pair = Where(found, index, first_pair)
    slots = Constant<value = int64 {{{top_k}}}>()
    first = Div(pair, slots)
    start = Mul(first, slots)
    second = Sub(pair, start)
    left_line = GatherElements<axis = 1>(x1, first)
    top_line = GatherElements<axis = 1>(y1, first)
    right_line = GatherElements<axis = 1>(x2, second)
    bottom_line = GatherElements<axis = 1>(y2, second)
    left = Unsqueeze(left_line, column)
    top = Unsqueeze(top_line, column)
    right = Unsqueeze(right_line, column)
    bottom = Unsqueeze(bottom_line, column)
    sides = Concat<axis = 2>(left, top, right, bottom)
    found_column = Unsqueeze(found, column)
    boxes = Where(found_column, sides, zero)
    first_score_line = GatherElements<axis = 1>(s1, first)
    second_score_line = GatherElements<axis = 1>(s2, second)
    first_score = Unsqueeze(first_score_line, column)
    second_score = Unsqueeze(second_score_line, column)
    both_scores = Concat<axis = 2>(first_score, second_score)
    corner_scores = Where(found_column, both_scores, zero)
    label = GatherElements<axis = 1>(l1, first)
    labels = Where(found, label, no_label)
    valid = Cast<to = 6>(found)
    counts = ReduceSum<keepdims = 0>(valid, row)
}}
"""


def corner_pool_functions(reach: int, block: int = 1) -> list[onnx.FunctionProto]:
    """CornerPoolTopLeft and CornerPoolBottomRight (Eq. 6, 7) for maps of up to `reach` x `reach` cells whose sides are
    multiples of `block`.

    The maximum towards one border is that of the `block` cells from here on, and that of the whole blocks beyond them,
    which a pooling of the short row of blocks gives: `block` + 1 + reach / block**2 comparisons per cell instead of
    `reach`. The steps keep the map's axes (Resize, no Reshape), so that the runtimes keep their channel-blocked layout.
    The padding with -inf is a node of its own: ONNX Runtime's CUDA provider drops end pads of MaxPool silently.

    NaN is not defined here: torch, the oracle and the kernel spread it towards the border, ONNX Runtime's MaxPool skips
    it. Exporting a network that gives NaN is refused where that differs (parity.py); CornerPeaks makes no peak of it.
    """
    return [
        _pool_function("CornerPoolTopLeft", reach, block, from_end=True),
        _pool_function("CornerPoolBottomRight", reach, block, from_end=False),
    ]


def _pool_function(name: str, reach: int, block: int, *, from_end: bool) -> onnx.FunctionProto:
    blocks = -(-reach // block)
    scans = {}
    for way, x, axis in (("vertical", "a", 2), ("horizontal", "b", 3)):
        # Of the pads: begins of the four axes, then their ends.
        beyond, behind = (axis + 4, axis) if from_end else (axis, axis + 4)
        scans[way] = _SCAN.format(
            way=way,
            x=x,
            block=f"{block}, 1" if axis == 2 else f"1, {block}",
            blocks=f"{blocks}, 1" if axis == 2 else f"1, {blocks}",
            block_scale=f"{block}.0, 1.0" if axis == 2 else f"1.0, {block}.0",
            near_pads=_pads({beyond: block - 1}),
            far_pads=_pads({beyond: blocks, behind: -1}),  # -1: without the block that the cell is in
        )
    function = _parse(_CORNER_POOL.format(name=name, **scans))
    for node in function.node:
        node.input[:] = ["" if tensor == "none" else tensor for tensor in node.input]
    return function


def _pads(cells: dict[int, int]) -> str:
    return str([cells.get(place, 0) for place in range(8)])[1:-1]


def corner_peaks_function(top_k: int, smallest_map: int) -> onnx.FunctionProto:
    """CornerPeaks: logits (N,C,h,w) -> scores f32, labels i32, cells i32, each (N, top_k); trainer.decode.corner_peaks.

    smallest_map: C * h * w of the smallest legal canvas; the map is padded only where `top_k` can exceed it.
    """
    pad = _PAD.format(missing=top_k - smallest_map, fill="low") if top_k > smallest_map else ""
    return _parse(_CORNER_PEAKS.format(top_k=top_k, pad=pad, candidates="filled" if pad else "flat"))


def corner_windows_function(size: int) -> onnx.FunctionProto:
    """CornerWindows: features (N,C,h,w), cells (N,K) i32 -> windows (N, C * size**2, K, 1), columns, rows (N,K) f32."""
    reach = range(-(size // 2), size // 2 + 1)
    steps = {"down": [row for row in reach for _ in reach], "right": [column for _ in reach for column in reach]}
    shifts = {name: str(shift)[1:-1] for name, shift in steps.items()}
    read = _READ_CELLS.format() if size == 1 else _READ_WINDOWS.format(area=size**2, **shifts)
    return _parse(_CORNER_WINDOWS.format(read=read))


def corner_group_function(top_k: int, num_dets: int, max_distance: float, reject_zero_size: bool) -> onnx.FunctionProto:
    """CornerGroup: scores, labels, embeddings, x, y of both branches, (N, top_k) each -> the contract's five outputs,
    boxes in cells; trainer.decode.corner_group."""
    pad = _PAD.format(missing=num_dets - top_k**2, fill="no_pair") if num_dets > top_k**2 else ""
    return _parse(
        _CORNER_GROUP.format(
            top_k=top_k,
            num_dets=num_dets,
            max_distance=np.format_float_scientific(np.float32(max_distance), unique=True),
            compare="Greater" if reject_zero_size else "GreaterOrEqual",
            pad=pad,
            candidates="filled" if pad else "flat",
        )
    )


def _parse(text: str) -> onnx.FunctionProto:
    """Text -> function whose nodes carry the name of what they compute, unique within it."""
    function = onnx.parser.parse_function(text)
    for node in function.node:
        node.name = f"{function.name}/{node.output[0]}"
    return function
