"""Short ways to write GPUs and pods in the device plugin's tests."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from device_plugin.gpus.devices import core_id, unit_id
from device_plugin.gpus.gpu import Gpus, GpuSample
from device_plugin.pods.pod import BoundPod, ContainerNeed
from device_plugin.pods.store import PodStore
from device_plugin.settings import Resource
from extender.contract.containers import ContainerKind
from extender.contract.mig import MigDevice
from extender.contract.units import CORE_PERCENT, GpuUuid, UnitMib, Units

UNIT_MIB = UnitMib(1024)


def sample(
    name: str = "GPU-a", units: int = 16, *, index: int = 0, healthy: bool = True, reason: str = ""
) -> GpuSample:
    """One GPU of so many GiB."""
    return GpuSample(GpuUuid(name), index, "Tesla T4", units * UNIT_MIB, healthy=healthy, reason=reason)


def slice_of(parent: str, uuid: str, *, index: int = 0, gi: int = 7) -> GpuSample:
    """A MIG device of a GPU."""
    mig = MigDevice(parent=GpuUuid(parent), device=gi - 7, gi=gi, ci=0, profile="1g.10gb", slices=1, of=7)
    return GpuSample(GpuUuid(uuid), index, "NVIDIA A100-SXM4-80GB MIG 1g.10gb", 9728, mig=mig)


def gpus(**units: int) -> Gpus:
    """`gpus(a=16, b=80)`: GPU-a with 16 units and GPU-b with 80."""
    samples = (sample(f"GPU-{name}", size, index=index) for index, (name, size) in enumerate(units.items()))
    return Gpus(UNIT_MIB, tuple(samples))


def sliced(*names: str, **units: int) -> Gpus:
    """As `gpus`, where those of `names` are MIG devices."""
    plain = gpus(**units)
    parent = GpuUuid("GPU-parent")
    return Gpus(
        UNIT_MIB,
        tuple(
            replace(each, mig=MigDevice(parent, at, at + 1, 0, "1g.10gb", 1, 7)) if each.uuid[4:] in names else each
            for at, each in enumerate(plain)
        ),
    )


def ids(name: str, numbers: range | list[int]) -> frozenset[str]:
    """`ids("a", range(8))`: the first eight units of GPU-a."""
    return frozenset(unit_id(GpuUuid(f"GPU-{name}"), number) for number in numbers)


def all_ids(of: Gpus, resource: Resource = Resource.MEMORY) -> frozenset[str]:
    """Every device of a node."""
    if resource is Resource.WHOLE:
        return frozenset(str(gpu.uuid) for gpu in of)
    if resource is Resource.CORE:
        return frozenset(core_id(gpu.uuid, number) for gpu in of for number in range(CORE_PERCENT))
    return frozenset(unit_id(gpu.uuid, number) for gpu in of for number in range(of.units(gpu.uuid)))


def placed(**units: int) -> dict[GpuUuid, Units]:
    """`placed(a=8)`: eight units on GPU-a."""
    return {GpuUuid(f"GPU-{name}"): Units(amount) for name, amount in units.items()}


def core_ids(name: str, numbers: range) -> frozenset[str]:
    """`core_ids("a", range(30))`: the first 30 percent of GPU-a's compute."""
    return frozenset(core_id(GpuUuid(f"GPU-{name}"), number) for number in numbers)


def memory(
    name: str = "main", units: int = 8, kind: ContainerKind = ContainerKind.APP, *, core: int = 0
) -> ContainerNeed:
    """A container that asks for memory, perhaps with compute."""
    return ContainerNeed(name, kind, memory_units=units, core_percent=core)


def whole(name: str = "main", count: int = 1, kind: ContainerKind = ContainerKind.APP) -> ContainerNeed:
    """A container that asks for whole GPUs."""
    return ContainerNeed(name, kind, whole_gpus=count)


def pod(
    name: str,
    *needs: ContainerNeed,
    plan: Mapping[str, Mapping[GpuUuid, Units]] | None = None,
    allocated: Mapping[str, Mapping[GpuUuid, Units]] | None = None,
    order: int = 0,
    gpu_count: int = 1,
    admitted: bool = False,
    gpu_model: str = "",
) -> BoundPod:
    """A pod of this node; its UID is its name after `uid-`."""
    return BoundPod(
        uid=f"uid-{name}",
        namespace="default",
        name=name,
        needs=needs or (memory(),),
        gpu_count=gpu_count,
        plan=plan or {},
        allocated=allocated or {},
        order=order,
        admitted=admitted,
        gpu_model=gpu_model,
    )


def pod_body(
    name: str,
    plan: Mapping[str, Mapping[str, int]],
    *,
    init: Sequence[str] = (),
    resource: str = "gpupack.io/gpu-mem",
    amounts: Mapping[str, int] | None = None,
    version: int = 1,
    core: int = 0,
    gpu_count: int = 1,
    gpu_model: str = "",
    mounts: Sequence[str] = (),
) -> bytes:
    """A bound pod whose containers ask for what their plan has, each with `core` percent of compute and volumes."""
    wanted = amounts or {container: sum(on.values()) for container, on in plan.items()}
    containers: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for container, amount in wanted.items():
        asked = {resource: str(amount), **({"gpupack.io/gpu-core": str(core)} if core else {})}
        limits = {"limits": asked}
        volumes = [{"name": "own", "mountPath": path} for path in mounts]
        containers[container in init].append({"name": container, "resources": limits, "volumeMounts": volumes})
    text = json.dumps({"version": 1, "unitMib": UNIT_MIB, "containers": plan})
    models = {"gpupack.io/gpu-model": gpu_model} if gpu_model else {}
    return json.dumps(
        {
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": f"uid-{name}",
                "resourceVersion": str(version),
                "annotations": {"gpupack.io/allocation": text, "gpupack.io/gpu-count": str(gpu_count), **models},
            },
            "spec": {"initContainers": containers[True], "containers": containers[False]},
        }
    ).encode()


def relist(store: PodStore, bodies: Iterable[bytes]) -> None:
    """Give a store these pods as the complete list."""
    store.replaced([store.read(body) for body in bodies], [], "1", rewound=False)
