"""A file with the outputs of a CornerNet-Saccade: boxes of what is bright, attention on the brightest 4 x 4 blocks."""

from fake_backends import BRIGHT_BOX_GRAPH, write_onnx
from planted_saccade import saccade_card

from cornernet.engine.model_card import Saccade

LOCATIONS = 4

ATTENTION = """
    axis_1_again = Constant<value=int64[1] {1}>()
    grey_map = Unsqueeze(grey, axis_1_again)
    full = Constant<value=float {255.0}>()
    grey_share = Div(grey_map, full)
    blocks = MaxPool<kernel_shape=[4, 4], strides=[4, 4], ceil_mode=1>(grey_share)
    flat_shape = Constant<value=int64[3] {0, 1, -1}>()
    flat = Reshape(blocks, flat_shape)
    most = Constant<value=int64[1] {4}>()
    small_scores, small_cells_long = TopK<axis=2>(flat, most)
    small_cells = Cast<to=6>(small_cells_long)
    minus = Constant<value=float {-1.0}>()
    lowest = Min(small_scores, minus)
    attention_scores = Concat<axis=1>(lowest, lowest, small_scores)
    attention_cells = Concat<axis=1>(small_cells, small_cells, small_cells)
}
"""


def write_saccade(path, **changes):
    """A .onnx file; changes: of its card."""
    graph = BRIGHT_BOX_GRAPH.rstrip().removesuffix("}") + ATTENTION.lstrip("\n")
    graph = graph.replace(
        "int32[N] counts)", "int32[N] counts, float[N,3,4] attention_scores, int32[N,3,4] attention_cells)"
    )
    return write_onnx(path, saccade_card(2, saccade=Saccade(locations=LOCATIONS), **changes), graph)
