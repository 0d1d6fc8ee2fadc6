"""Writes and reads the JSON of the `inventory` node annotation, by which the device plugin publishes its GPUs.

Form: `{"version":1,"unitMib":1024,"gpus":[{"uuid":"GPU-...","index":0,"model":"NVIDIA T4","memoryMib":15360,
"healthy":true,"numaNode":0,"outsideMib":0}]}`; an unhealthy GPU adds `"reason"`, an unknown NUMA node is left out.
`"enforcement":"driver"` says how containers are held to their share; without it that is unknown.
`"coreEnforcement":"mps"` says what holds them to their gpu-core; without it gpu-core only limits packing.
`"mig":{...}` says that it is a MIG device, and of which GPU (`extender.contract.mig`); its `index` is that GPU's.
"""

import json
from dataclasses import dataclass
from typing import Any

from extender.contract.allocation import LARGEST, integer_of, parse_object, string_of
from extender.contract.mig import MigDevice, parse_mig, place_text
from extender.contract.units import ContractError, GpuUuid, UnitMib, Units, check_unit_mib, units_in

VERSION = 1


@dataclass(frozen=True, slots=True)
class InventoryGpu:
    """One physical GPU, or one MIG device, as the node sees it.

    Args:
        uuid: NVML UUID.
        index: NVML index, for people only.
        model: product name as NVML gives it.
        memory_mib: total framebuffer memory that can be given out.
        healthy: False takes the GPU out of scheduling.
        reason: why it is unhealthy, for people.
        numa_node: NUMA node of its PCIe slot, None when unknown.
        outside_mib: memory in use by processes that the ledger does not know.
        enforcement: how containers are held to their share, `driver`, `mps`, `watched` or `advisory`; other words are
            a newer device plugin's, and empty means unknown.
        core_enforcement: how containers are held to their gpu-core, `mps`; empty when nothing holds them.
        mig: which MIG device it is; None for a whole physical GPU.
    """

    uuid: GpuUuid
    index: int
    model: str
    memory_mib: int
    healthy: bool = True
    reason: str = ""
    numa_node: int | None = None
    outside_mib: int = 0
    enforcement: str = ""
    core_enforcement: str = ""
    mig: MigDevice | None = None

    @property
    def place(self) -> str:
        """Its name among the GPUs of its node, for people: `0`, or `0:3` for a MIG device."""
        return place_text(self.index, self.mig)

    def __post_init__(self) -> None:
        if not self.uuid or len(self.uuid) > 58:
            raise ContractError(f"inventory: uuid is {self.uuid!r}, expected 1 to 58 characters")
        if not 0 <= self.memory_mib <= LARGEST:
            raise ContractError(f"inventory: {self.uuid}.memoryMib is {self.memory_mib}, expected 0 to {LARGEST}")
        if not 0 <= self.outside_mib <= LARGEST:
            raise ContractError(f"inventory: {self.uuid}.outsideMib is {self.outside_mib}, expected 0 to {LARGEST}")


@dataclass(frozen=True, slots=True)
class Inventory:
    """The GPUs of one node, in NVML's order, and the unit that its device plugin advertises."""

    unit_mib: UnitMib
    gpus: tuple[InventoryGpu, ...] = ()

    def __post_init__(self) -> None:
        check_unit_mib(self.unit_mib)
        if len({gpu.uuid for gpu in self.gpus}) != len(self.gpus):
            raise ContractError("inventory: gpus name one uuid twice, expected each once")

    def units_of(self, gpu: InventoryGpu) -> Units:
        """Units that `gpu` has in all."""
        return units_in(gpu.memory_mib, self.unit_mib)

    def to_json(self) -> str:
        """The annotation's text; equal values give equal texts."""
        return json.dumps(
            {"version": VERSION, "unitMib": self.unit_mib, "gpus": [_to_object(gpu) for gpu in self.gpus]},
            separators=(",", ":"),
        )


def _to_object(gpu: InventoryGpu) -> dict[str, Any]:
    body: dict[str, Any] = {
        "uuid": gpu.uuid,
        "index": gpu.index,
        "model": gpu.model,
        "memoryMib": gpu.memory_mib,
        "healthy": gpu.healthy,
        "outsideMib": gpu.outside_mib,
    }
    if gpu.reason:
        body["reason"] = gpu.reason
    if gpu.numa_node is not None:
        body["numaNode"] = gpu.numa_node
    if gpu.enforcement:
        body["enforcement"] = gpu.enforcement
    if gpu.core_enforcement:
        body["coreEnforcement"] = gpu.core_enforcement
    if gpu.mig is not None:
        body["mig"] = gpu.mig.to_object()
    return body


def parse_inventory(text: str) -> Inventory:
    """Read an annotation.

    Raises:
        ContractError: not JSON of this version and form; the message names the field.
    """
    body = parse_object(text, what="inventory", version=VERSION)
    gpus = body.get("gpus")
    if not isinstance(gpus, list):
        raise ContractError(f"inventory: gpus is {gpus!r}, expected a list")
    return Inventory(
        unit_mib=check_unit_mib(integer_of(body, "unitMib", "inventory")),
        gpus=tuple(_parse_gpu(gpu, f"inventory: gpus[{position}]") for position, gpu in enumerate(gpus)),
    )


def _parse_gpu(body: object, where: str) -> InventoryGpu:
    if not isinstance(body, dict):
        raise ContractError(f"{where} is {body!r}, expected an object")
    healthy = body.get("healthy", True)
    if not isinstance(healthy, bool):
        raise ContractError(f"{where}.healthy is {healthy!r}, expected true or false")
    return InventoryGpu(
        uuid=GpuUuid(string_of(body, "uuid", where)),
        index=integer_of(body, "index", where),
        model=string_of(body, "model", where),
        memory_mib=integer_of(body, "memoryMib", where),
        healthy=healthy,
        reason=string_of(body, "reason", where),
        numa_node=None if body.get("numaNode") is None else integer_of(body, "numaNode", where),
        outside_mib=integer_of(body, "outsideMib", where) if "outsideMib" in body else 0,
        enforcement=string_of(body, "enforcement", where),
        core_enforcement=string_of(body, "coreEnforcement", where),
        mig=parse_mig(body.get("mig"), where),
    )
