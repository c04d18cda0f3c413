"""Batches of canvases that are still to be placed, and parts of them, for runtimes that take fewer at once."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from emulated_placing import own
from fake_backends import FunctionBackend, bright_box
from placing_rig import OnDevice, PlacesViews, emulated_kernels
from planted_saccade import saccade_card

from cornernet.engine.backends.device_arrays import describe_image, facts_of
from cornernet.engine.protocol import DEFAULT
from cornernet.engine.reading.packing import pack, packed_bytes
from cornernet.engine.saccade.cuts import cut
from cornernet.engine.saccade.two_looks import TwoLooks

SIDE = 32


@pytest.fixture
def kernels():
    found = emulated_kernels()
    yield found
    own(found, 0, 0)


@pytest.mark.parametrize("order", ["bgr", "rgb"])
def test_a_part_places_the_same_canvases_and_uploads_only_what_it_shows(kernels, order):
    plan = TwoLooks(saccade_card(channel_order=order), DEFAULT, 30)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (50 + number, 90 - number, 3), np.uint8) for number in range(5)]
    array = OnDevice(kernels, images[3])
    sources = [*images[:3], describe_image(array, facts_of(array)), images[4]]
    views = [
        (source, cut(source.shape[:2], place, 1.5, SIDE, 4, DEFAULT.saccade))
        for source in sources
        for place in ((10, 20), (40, 60))
    ]
    packed = pack(views, np.empty(packed_bytes(views, plan), np.uint8), plan)
    placing = PlacesViews(kernels, FunctionBackend(bright_box))
    whole = placing._place(packed)
    for count in (1, 2, 3, 10):
        parts = [packed.part(start, count) for start in range(0, len(views), count)]
        np.testing.assert_array_equal(np.concatenate([placing._place(part) for part in parts]), whole)
        if count == 2:  # a source each
            assert parts[3].memory.size == 0, "what lies on the device is not uploaded"
            assert sum(part.memory.size for part in parts) == packed.memory.size
    single = packed.part(0, 1)
    assert 0 < single.memory.size < packed.part(0, 2).memory.size
    assert np.shares_memory(single.memory, packed.memory), "page-locked memory stays that"


def test_every_image_on_the_device_stays_alive_with_the_batch_and_with_its_parts(kernels):
    """Between the looks, and while a batch waits for its turn, nobody else may hold them."""
    plan = TwoLooks(saccade_card(), DEFAULT, 30)
    arrays = [OnDevice(kernels, np.zeros((40, 50, 3), np.uint8)) for _ in range(3)]
    alive = [weakref.ref(array) for array in arrays]
    images = [describe_image(array, facts_of(array)) for array in arrays]
    one = cut((40, 50), (20, 20), 0.7, SIDE, 4, DEFAULT.saccade)
    part = pack([(image, one) for image in images], np.empty(0, np.uint8), plan).part(2, 1)
    del arrays, images
    gc.collect()
    assert [array() is not None for array in alive] == [True] * 3
    del part
    gc.collect()
    assert [array() for array in alive] == [None] * 3
