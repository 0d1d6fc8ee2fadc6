"""Reads the names that NVIDIA gives to sizes of MIG devices, such as `1g.10gb` or `1c.3g.20gb+me`.

Names and sizes: https://docs.nvidia.com/datacenter/tesla/mig-user-guide
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

SLICES_OF_A_GPU = 7
"""Slices of every GPU that can have as many MIG devices: A100, H100 and later."""

_FORM = re.compile(r"(?:(?P<compute>[1-9])c\.)?(?P<slices>[1-9])g\.(?P<gb>[1-9][0-9]{0,3})gb(?:[+-][a-z.]{1,16})*")
_NOT_GIVEN_MIB = {1: 256, 2: 384}
_NOT_GIVEN_BY_LARGER_MIB = 512


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
    found = _FORM.fullmatch(name)
    if found is None:
        return None
    slices = int(found["slices"])
    compute = int(found["compute"] or slices)
    return MigProfile(name, slices, compute, int(found["gb"])) if compute <= slices else None


def parse_split(names: Iterable[str]) -> tuple[MigProfile, ...]:
    """The profiles that a GPU is split into, each a whole GPU instance.

    Raises:
        ValueError: an unknown profile, or more slices than a GPU has.
    """
    names = list(names)
    found = [profile for name in names if (profile := parse_profile(name)) and profile.is_whole]
    if len(found) < len(names) or sum(profile.gpu_slices for profile in found) > SLICES_OF_A_GPU:
        raise ValueError(f"mig is {names}, expected profiles such as 1g.10gb of {SLICES_OF_A_GPU} slices")
    return tuple(found)


def profile_in(model: str) -> str:
    """The profile's name in what NVML calls a MIG device (`NVIDIA A100-SXM4-80GB MIG 1g.10gb`); empty without one."""
    _, _, name = model.rpartition("MIG ")
    return name if parse_profile(name) else ""
