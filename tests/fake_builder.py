"""A full TensorRT builder without a GPU, for what tensorrt-rtx does not have: timing caches and a readable engine.

The network is the ONNX file's own nodes: plugin where the registry has the operator and no function of that name is
left, else one layer each. It never stands in for a build.
"""

from __future__ import annotations

import enum
import json
from types import SimpleNamespace
from typing import Any

import onnx
from fake_tensorrt import ILogger, Severity

from cornernet.engine.backends.trt_api import NAMESPACE, TensorRT
from cornernet.engine.model_card import INPUT

Kind = enum.Enum("LayerType", ["CONVOLUTION", "DECONVOLUTION", "PLUGIN_V3", "CAST"])
Flag = enum.Enum("BuilderFlag", ["TF32", "REFIT", "VERSION_COMPATIBLE"])
Hardware = enum.Enum("HardwareCompatibilityLevel", ["NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"])


class Config:
    def __init__(self, behaviour: SimpleNamespace) -> None:
        self.behaviour = behaviour
        self.flags = {Flag.TF32}
        self.profiles: list[Any] = []
        self.builder_optimization_level = 3
        self.profiling_verbosity = self.progress_monitor = None
        self.cache: bytes | None = None
        self.plugins_to_serialize: list[str] = []
        self.max_aux_streams, self.hardware_compatibility_level = -1, Hardware.NONE
        self.limits: dict[str, int] = {}
        behaviour.config = self

    def set_flag(self, flag: Flag) -> None:
        self.flags.add(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits[pool] = size

    def clear_flag(self, flag: Flag) -> None:
        self.flags.discard(flag)

    def get_flag(self, flag: Flag) -> bool:
        return flag in self.flags

    def add_optimization_profile(self, optimization: Any) -> int:
        self.profiles.append(optimization)
        return -1 if self.behaviour.refuse_profile else len(self.profiles) - 1

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, content: bytes, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        self.cache = content
        return not content.startswith(b"other")

    def get_timing_cache(self) -> Any:
        return SimpleNamespace(serialize=lambda: bytearray(self.cache + b"+timed"))


class Network:
    def __init__(self) -> None:
        self.layers: list[Any] = []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> Any:
        return self.layers[index]

    def get_input(self, index: int) -> Any:
        return SimpleNamespace(name=INPUT, shape=(-1, -1, -1, 3))


class Parser:
    def __init__(self, network: Any, logger: Any) -> None:
        self.network = network

    def parse(self, content: bytes, path: str) -> bool:
        model = onnx.load_from_string(content)
        functions = {function.name for function in model.functions}
        for node in model.graph.node:
            plugin = node.domain == NAMESPACE and node.op_type not in functions
            kinds = {"Conv": Kind.CONVOLUTION}
            kind = Kind.PLUGIN_V3 if plugin else kinds.get(node.op_type, Kind.CAST)
            output = SimpleNamespace(dtype=SimpleNamespace(name="FLOAT"))
            layer = SimpleNamespace(type=kind, name=node.op_type, num_outputs=1, get_output=lambda index, o=output: o)
            self.network.layers.append(layer)
        return True


def fake_builder(*, operators: tuple[str, ...] = (), **behaviour: Any) -> TensorRT:
    """The adapter around a fake builder. behaviour: fails, engine_layers (of the inspector), refuse_profile,
    lost_plugin. `api.module.behaviour.config` is the configuration of the last build."""
    facts = SimpleNamespace(
        **({"fails": False, "engine_layers": None, "refuse_profile": False, "lost_plugin": None} | behaviour)
    )

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Any:
            assert flags == 1 << 1
            return Network()

        def create_builder_config(self) -> Config:
            return Config(facts)

        def create_optimization_profile(self) -> Any:
            return SimpleNamespace(set_shape=lambda name, low, best, high: None)

        def build_serialized_network(self, network: Any, config: Config) -> bytes | None:
            if facts.fails:
                self.logger.log(Severity.ERROR, "Error Code 10: could not find any implementation for node")
                return None
            lost = facts.lost_plugin
            names = [[layer.type.name, layer.name] for layer in network.layers if layer.name != lost]
            return json.dumps({"layers": names, "code": config.plugins_to_serialize}).encode()

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, plan: bytes) -> Any:
            layers = facts.engine_layers
            content = json.loads(bytes(plan))
            if content["code"] and not self.engine_host_code_allowed:
                return None
            if layers is None:
                half = [{"Format/Datatype": "Float"}]
                layers = [{"LayerType": name.title(), "Outputs": half} for name, _ in content["layers"]]
            inspector = SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": layers}))
            return SimpleNamespace(
                create_engine_inspector=lambda: inspector,
                num_optimization_profiles=len(facts.config.profiles),
                get_device_memory_size_for_profile_v2=lambda index: 1000 + index,
            )

    creators = [SimpleNamespace(name=name, plugin_namespace=NAMESPACE) for name in operators]
    registry = SimpleNamespace(all_creators=creators, load_library=lambda path: "handle")
    module = SimpleNamespace(
        __version__="10.16.1.11",
        ILogger=ILogger,
        IProgressMonitor=type("IProgressMonitor", (), {}),
        Builder=Builder,
        OnnxParser=Parser,
        Runtime=Runtime,
        BuilderFlag=Flag,
        HardwareCompatibilityLevel=Hardware,
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        behaviour=facts,
        LayerType=Kind,
        LayerInformationFormat=SimpleNamespace(JSON=1),
        ProfilingVerbosity=SimpleNamespace(DETAILED=2),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        get_plugin_registry=lambda: registry,
    )
    return TensorRT(module, "tensorrt")  # type: ignore[arg-type]
