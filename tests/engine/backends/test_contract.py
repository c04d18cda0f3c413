"""What a Saccade's file gives beside the five outputs is checked like them, and passed on by every runtime."""

import numpy as np
import pytest
from fake_backends import make_card, raw_detections

from cornernet.engine.backends import SaccadeDetections
from cornernet.engine.backends.contract import check_detections, run_in_parts
from cornernet.engine.errors import BackendError
from cornernet.engine.model_card import Saccade

CARD = make_card(size_multiple=32, train_size=(255, 255), saccade=Saccade(locations=8))


def outputs(images=2, **changes) -> SaccadeDetections:
    """One location on each level, in the last cell of its map."""
    scores, cells = np.full((images, 3, 8), -1, np.float32), np.zeros((images, 3, 8), np.int32)
    scores[:, :, 0], cells[:, :, 0] = 1, (255, 1023, 4095)
    return SaccadeDetections(*raw_detections([[]] * images), scores, cells)._replace(**changes)


def test_what_the_contract_says_passes():
    check_detections(outputs(), 2, CARD, "fake")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (raw_detections([[]] * 2), "gave 5 outputs; expected boxes, .*, attention_scores, attention_cells"),
        (outputs(attention_scores=np.ones((2, 3, 7), np.float32)), r"attention_scores of shape \(2, 3, 7\)"),
        (outputs(attention_cells=np.zeros((2, 3, 8), np.int64)), "attention_cells of shape .* int64"),
        (outputs(attention_scores=np.full((2, 3, 8), 1.5, np.float32)), "neither from 0 to 1 nor -1"),
        (outputs(attention_scores=np.full((2, 3, 8), np.nan, np.float32)), "neither from 0 to 1 nor -1"),
        (outputs(attention_cells=np.full((2, 3, 8), 256, np.int32)), "but the maps have 256, 1024, 4096"),
        (outputs(attention_cells=np.full((2, 3, 8), -1, np.int32)), "attention_cells from -1"),
    ],
)
def test_anything_else_is_refused_with_its_name(raw, words):
    with pytest.raises(BackendError, match=words):
        check_detections(raw, 2, CARD, "fake")


def test_attention_of_a_network_that_has_none_is_refused():
    with pytest.raises(BackendError, match="gave 7 outputs; expected boxes, scores, corner_scores, labels, counts"):
        check_detections(outputs(), 2, make_card(), "fake")


def test_a_file_of_fixed_batch_gives_the_attention_of_every_canvas():
    got = run_in_parts(lambda part: outputs(len(part)), np.zeros((5, 1, 1, 3), np.uint8), 2)
    assert isinstance(got, SaccadeDetections) and [len(values) for values in got] == [5] * 7
