"""Reads which profiles of MIG devices, such as `1g.10gb`, a GPU is split into."""

from collections.abc import Iterable

from extender.contract.mig import SLICES_OF_A_GPU, MigProfile, parse_profile


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
