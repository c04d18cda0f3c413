"""The execution contexts of a worker: which one runs a shape.

A context that changes its shape pays for it at the next batch, and no recorded graph survives the change; a context of
its own for every shape costs memory and time to make, and a stream of pictures in their own sizes has dozens of shapes.
So there is one context per profile for shapes that come for the first time, and a shape that comes again gets one of
its own, for up to MAX_SHAPES shapes. A shape that finds no room takes another's place only if it came much more often:
shapes that take turns would otherwise make and destroy a context for every batch. A batch that would run in the shared
context is filled up to a shape that has its own, if that has at most twice as many images: the tail of a directory
then runs as one graph.

TensorRT-RTX changes shapes and records graphs by itself: there, the shared contexts run everything.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cornernet.engine.backends.cuda_memory import DeviceBuffer, Graph, Stream
from cornernet.engine.backends.cuda_runtime import Cuda, CudaError
from cornernet.engine.backends.engine_card import Shape
from cornernet.engine.backends.rtx_kernels import KernelCache, context_rtx
from cornernet.engine.backends.trt_api import TensorRT
from cornernet.engine.backends.trt_plan import Plan
from cornernet.engine.errors import BackendError, ModelError
from cornernet.engine.model_card import INPUT

log = logging.getLogger("cornernet.tensorrt")

MAX_SHAPES = 8
"""Shapes of a worker with a context of their own."""

MAX_GRAPHS = 8
"""Graphs of such a context: one per place its input may come from (staging, a ring of buffers, device addresses)."""

REMEMBERED = 512
"""Batches after which the counts of shapes are halved, so that what came often long ago does not stay for good."""

_CREATING = threading.Lock()
"""Contexts are made one at a time: TensorRT promises thread safety between contexts, not for making them."""

GraphKey = tuple[int, int, int]
"""Device address that the network reads, host address that is uploaded first (0: none), bytes of that upload."""


class Slot:
    """A context, the shape it is set to, and, if it keeps that shape, its graphs."""

    def __init__(self, context: Any, profile: int, names: Iterable[str], *, keeps_shape: bool) -> None:
        self.context, self.profile, self.keeps_shape = context, profile, keeps_shape
        self._names = tuple(names)  # of the outputs
        self.shape: Shape | None = None
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.graphs: OrderedDict[GraphKey, Graph | None] = OrderedDict()  # None: met, not recorded yet
        self.not_recordable: set[GraphKey] = set()
        self._addresses: dict[str, int] = {}

    def bind(self, name: str, address: int) -> None:
        """An address set again, even the same one, makes the next batch pay for a change of shape."""
        if self._addresses.get(name) == address:
            return
        if not self.context.set_tensor_address(name, address):
            raise BackendError(f"TensorRT refuses the address {address:#x} for the tensor {name}.")
        self._addresses[name] = address

    def set_shape(self, shape: Shape) -> None:
        """Raises BackendError if TensorRT refuses it, ModelError if the sizes of the outputs are not known then."""
        context = self.context
        self.shape = None
        if not context.set_input_shape(INPUT, (*shape, 3)):
            raise BackendError(f"TensorRT refuses an input of {shape}, though it lies within the profile.")
        outputs = {name: tuple(context.get_tensor_shape(name)) for name in self._names}
        unknown = [name for name, sizes in outputs.items() if any(size < 0 for size in sizes)]
        if unknown:
            raise ModelError(
                f"the sizes of {', '.join(unknown)} depend on the pixels, so no buffer can be prepared for them. "
                "Build from a file of `cornernet export`."
            )
        self.shape, self.outputs = shape, outputs

    def drop_graphs(self) -> None:
        while self.graphs:
            _, graph = self.graphs.popitem()
            if graph is not None:
                graph.free()

    def free(self) -> None:
        self.drop_graphs()
        self.context = None


class Contexts:
    """The contexts of one worker, with the scratch memory they share, since they never run at the same time."""

    def __init__(
        self, api: TensorRT, cuda: Cuda, plan: Plan, stream: Stream, *, own: bool, kernels: KernelCache
    ) -> None:
        """own: give shapes contexts of their own (there is something to gain from it: graphs of ours).
        kernels: of TensorRT-RTX."""
        self._kernels = kernels
        self._api, self._cuda, self._plan, self._stream = api, cuda, plan, stream
        self._room = 0 if api.has_own_graphs or not own else MAX_SHAPES
        self._scratch = DeviceBuffer(cuda, 0)
        self._shared: dict[int, Slot] = {}
        self._own: dict[tuple[int, Shape], Slot] = {}
        self._uses: Counter[tuple[int, Shape]] = Counter()
        self._outputs: dict[str, int] = {}
        self._runtime_config: Any = None  # of TensorRT-RTX; contexts use it without keeping it alive
        self.made = 0

    def bind_outputs(self, addresses: dict[str, int]) -> None:
        """Where every context writes from now on."""
        self._outputs = addresses
        for slot in (*self._shared.values(), *self._own.values()):
            for name, address in addresses.items():
                slot.bind(name, address)

    def output_sizes(self) -> dict[str, int]:
        """Bytes of each output at the largest batch of any profile."""
        sizes = dict.fromkeys(self._plan.dtypes, 0)
        for index, profile in enumerate(self._plan.profiles):
            slot = self._shared_slot(index)
            slot.set_shape(profile.max)
            for name, shape in slot.outputs.items():
                sizes[name] = max(sizes[name], int(np.prod(shape)) * self._plan.dtypes[name].itemsize)
            slot.shape = None  # it has no scratch memory for this shape
        return sizes

    def place(self, profile: int, shape: Shape) -> Slot:
        """The context that runs `shape` (N, H, W) next, set to it or to the same H x W with more images."""
        key = (profile, shape)
        self._count(key)
        slot = self._own.get(key) or self._admit(key) or self._larger(key)
        if slot is None:
            slot = self._shared_slot(profile)
            self._set(slot, shape)
        return slot

    @contextmanager
    def apart(self, profile: int, shape: Shape) -> Iterator[Slot]:
        """A context that nobody else gets, for measurements that leave something behind in it."""
        slot = self._make(profile, keeps_shape=False)
        try:
            self._set(slot, shape)
            yield slot
        finally:
            slot.free()

    def _set(self, slot: Slot, shape: Shape) -> None:
        if slot.shape != shape:
            slot.set_shape(shape)
            self._provide_scratch(slot)

    def _count(self, key: tuple[int, Shape]) -> None:
        self._uses[key] += 1
        if self._uses.total() >= REMEMBERED:
            self._uses = Counter({each: count // 2 for each, count in self._uses.items() if count > 1})

    def _admit(self, key: tuple[int, Shape]) -> Slot | None:
        """A context of its own for a shape that came before, if there is room or it came much more often."""
        if self._uses[key] < 2:
            return None
        if len(self._own) >= self._room:
            if not self._own:
                return None
            rarest = min(self._own, key=lambda other: self._uses[other])
            if self._uses[key] <= 2 * self._uses[rarest] + 2:
                return None
            self._own.pop(rarest).free()
        try:
            slot = self._own[key] = self._make(key[0], keeps_shape=True)
            self._set(slot, key[1])
        except BackendError as error:
            self._own.pop(key, None)
            if isinstance(error, CudaError) and error.sticky:
                raise
            self._room = len(self._own)
            log.warning("no further context of its own for a shape, going on with %d: %s", self._room, error)
            return None
        return slot

    def _larger(self, key: tuple[int, Shape]) -> Slot | None:
        profile, (images, *canvas) = key
        batches = [
            shape[0]
            for other, shape in self._own
            if other == profile and list(shape[1:]) == canvas and images < shape[0] <= 2 * images
        ]
        return self._own[profile, (min(batches), canvas[0], canvas[1])] if batches else None

    def _shared_slot(self, profile: int) -> Slot:
        if profile not in self._shared:
            self._shared[profile] = self._make(profile, keeps_shape=False)
        return self._shared[profile]

    def _make(self, profile: int, *, keeps_shape: bool) -> Slot:
        trt, engine = self._api.module, self._plan.engine
        with self._api.logger.collect() as errors, _CREATING:
            if self._api.has_own_graphs:
                self._runtime_config, context = context_rtx(trt, engine, self._runtime_config, self._kernels)
            else:
                context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
            if context is None or not self._chosen(context, profile):
                raise BackendError(
                    f"TensorRT gave no context for profile {profile}: {'; '.join(errors) or 'no reason'}"
                )
        self._stream.synchronize()
        self.made += 1
        slot = Slot(context, profile, self._plan.dtypes, keeps_shape=keeps_shape)
        for name, address in self._outputs.items():
            slot.bind(name, address)
        return slot

    def _chosen(self, context: Any, profile: int) -> bool:
        """False, or RuntimeError from some versions of the binding, where TensorRT refuses the profile."""
        try:
            return bool(context.set_optimization_profile_async(profile, self._stream.handle))
        except RuntimeError:
            return False

    def _provide_scratch(self, slot: Slot) -> None:
        """Scratch memory for the shape the context was just given: what this shape needs, not the profile's largest.
        Graphs hold addresses, so all of them go when the block has to grow."""
        if self._api.has_own_graphs:
            return
        context = slot.context
        needed = int(context.update_device_memory_size_for_shapes())
        if needed > self._scratch.size:
            self._stream.synchronize()
            for other in self._own.values():
                other.drop_graphs()
            self._scratch.free()
            self._scratch = DeviceBuffer(self._cuda, 0)
            self._scratch = DeviceBuffer(self._cuda, needed)
            for other in (*self._shared.values(), *self._own.values()):
                self._lend_scratch(other)
        self._lend_scratch(slot)

    def _lend_scratch(self, slot: Slot) -> None:
        context = slot.context
        if self._scratch.size:
            context.set_device_memory(self._scratch.address, self._scratch.size)

    def free(self) -> None:
        """May be called again after an error: then it goes on where it stopped."""
        while self._own:
            self._own.popitem()[1].free()
        while self._shared:
            self._shared.popitem()[1].free()
        self._runtime_config = None
        self._scratch.free()
