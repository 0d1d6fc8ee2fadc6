"""Says which MIG device of which GPU an entry of the `inventory` annotation is: a slice with memory of its own.

Form: `{"parent":"GPU-...","device":3,"gi":9,"ci":0,"profile":"1g.10gb","slices":1,"of":7}`.
MIG: https://docs.nvidia.com/datacenter/tesla/mig-user-guide
"""

import re
from dataclasses import dataclass
from typing import Any

from extender.contract.allocation import LARGEST, integer_of, string_of
from extender.contract.units import ContractError, GpuUuid

_WORD = "MIG"

MIG_PREFIX = "MIG-"
"""How NVML's UUIDs of MIG devices begin; those of GPUs begin with `GPU-`."""

SLICES_OF_A_GPU = 7
"""Slices of every GPU that can have as many MIG devices: A100, H100 and later."""

_PROFILE = re.compile(r"(?:(?P<compute>[1-9])c\.)?(?P<slices>[1-9])g\.(?P<gb>[1-9][0-9]{0,3})gb(?:[+-][a-z.]{1,16})*")
_NOT_GIVEN_MIB = {1: 256, 2: 384}
_NOT_GIVEN_BY_LARGER_MIB = 512


@dataclass(frozen=True, slots=True)
class MigDevice:
    """The place of a MIG device on its GPU.

    Args:
        parent: UUID of the GPU that it is a slice of.
        device: its number among the MIG devices of that GPU, as `nvidia-smi -L` shows it.
        gi: ID of its GPU instance.
        ci: ID of its compute instance.
        profile: its size in NVIDIA's words, such as `1g.10gb`.
        slices: how many of the GPU's slices it has.
        of: how many slices the GPU has in all.

    Raises:
        ContractError: a value that cannot be.
    """

    parent: GpuUuid
    device: int
    gi: int
    ci: int
    profile: str
    slices: int
    of: int

    def __post_init__(self) -> None:
        if not self.parent or len(self.parent) > 58:
            raise ContractError(f"inventory: mig.parent is {self.parent!r}, expected 1 to 58 characters")
        for name in ("device", "gi", "ci"):
            value = getattr(self, name)
            if not 0 <= value <= LARGEST:
                raise ContractError(f"inventory: mig.{name} is {value}, expected 0 to {LARGEST}")
        if not 1 <= self.slices <= self.of <= LARGEST:
            raise ContractError(f"inventory: mig.slices is {self.slices} of {self.of}, expected at least 1 of as many")

    @property
    def share(self) -> float:
        """The part of its GPU that it is, over 0 to 1."""
        return self.slices / self.of

    def to_object(self) -> dict[str, Any]:
        """Its JSON object."""
        return {
            "parent": self.parent,
            "device": self.device,
            "gi": self.gi,
            "ci": self.ci,
            "profile": self.profile,
            "slices": self.slices,
            "of": self.of,
        }


def says_mig(pattern: str) -> bool:
    """Whether a pattern of `gpu-model` has `MIG` in it: only by such a one a MIG device is accepted as a whole GPU."""
    return _WORD in pattern.upper()


def asks_for_mig(gpu_model: str) -> bool:
    """Whether a `gpu-model` annotation accepts anything by a pattern with `MIG` in it."""
    return any(says_mig(part) for part in gpu_model.split(",") if not part.strip().startswith("!"))


def place_text(index: int, mig: MigDevice | None) -> str:
    """How people name a GPU of a node: `0`, or `0:3` for MIG device 3 of GPU 0, as nvidia-smi and CDI number them."""
    return str(index) if mig is None else f"{index}:{mig.device}"


def card_of(uuid: GpuUuid, mig: MigDevice | None) -> GpuUuid:
    """UUID of the physical GPU that this is, or is a MIG device of."""
    return uuid if mig is None else mig.parent


def model_of_card(model: str, mig: MigDevice | None) -> str:
    """Product name of the physical GPU: NVML appends `MIG 1g.10gb` to it for a MIG device."""
    return model if mig is None else model.removesuffix(f" MIG {mig.profile}")


def parse_mig(body: object, where: str) -> MigDevice | None:
    """Read its JSON object; None where there is none, on a GPU that is not a MIG device.

    Raises:
        ContractError: not of the form above; the message names the field.
    """
    if body is None:
        return None
    if not isinstance(body, dict):
        raise ContractError(f"{where}.mig is {body!r}, expected an object")
    where = f"{where}.mig"
    return MigDevice(
        parent=GpuUuid(string_of(body, "parent", where)),
        device=integer_of(body, "device", where),
        gi=integer_of(body, "gi", where),
        ci=integer_of(body, "ci", where),
        profile=string_of(body, "profile", where),
        slices=integer_of(body, "slices", where),
        of=integer_of(body, "of", where),
    )


@dataclass(frozen=True, slots=True)
class MigProfile:
    """The size of a MIG device.

    Args:
        name: as NVIDIA writes it.
        gpu_slices: slices of the GPU that its GPU instance has.
        compute_slices: those of them that its compute instance has.
        memory_gb: memory of its GPU instance as the name says it, rounded.
    """

    name: str
    gpu_slices: int
    compute_slices: int
    memory_gb: int

    @property
    def is_whole(self) -> bool:
        """Whether its compute instance has all of its GPU instance."""
        return self.compute_slices == self.gpu_slices

    @property
    def memory_mib(self) -> int:
        """About what processes can get, for simulations: on an A100 of 40 GB a `1g.5gb` has 4864, a `3g.20gb` 19968."""
        return self.memory_gb * 1024 - _NOT_GIVEN_MIB.get(self.gpu_slices, _NOT_GIVEN_BY_LARGER_MIB)


def parse_profile(name: str) -> MigProfile | None:
    """The profile of that name; None when it is none."""
    found = _PROFILE.fullmatch(name)
    if found is None:
        return None
    slices = int(found["slices"])
    compute = int(found["compute"] or slices)
    return MigProfile(name, slices, compute, int(found["gb"])) if compute <= slices else None
