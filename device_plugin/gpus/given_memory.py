"""Knows from a setting how much memory GPUs have that share the machine's, of which NVML gives no size (GB10, Jetson).

Form: `N`, or `PATTERN=N,PATTERN=N,...` where nodes have different ones, in MiB. A pattern is a shell pattern for the
product name; case does not matter, and blanks are as good as hyphens. The first that matches counts.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from device_plugin.gpus.plausible import LARGEST_BYTES
from extender.contract.quantity import parse_digits

_LARGEST_MIB = LARGEST_BYTES >> 20


@dataclass(frozen=True, slots=True)
class GivenMemory:
    """Memory in MiB by patterns of product names.

    Raises:
        ValueError: not 1 to 2,097,152 MiB, or an empty pattern.
    """

    sizes_mib: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        for pattern, size_mib in self.sizes_mib:
            if not pattern or not 1 <= size_mib <= _LARGEST_MIB:
                raise ValueError(f"{pattern!r} with {size_mib} MiB: expected a pattern and 1 to {_LARGEST_MIB} MiB")

    def mib_of(self, model: str) -> int | None:
        """Memory of a GPU of that product name; None when nothing is set for it."""
        name = _folded(model)
        return next((size for pattern, size in self.sizes_mib if fnmatchcase(name, _folded(pattern))), None)

    def __str__(self) -> str:
        return ",".join(f"{pattern}={size_mib}" for pattern, size_mib in self.sizes_mib)


def parse_given_memory(text: str) -> GivenMemory:
    """Read the form above.

    Raises:
        ValueError: not of that form.
    """
    sizes = []
    for part in text.split(",") if text.strip() else []:
        pattern, equals, digits = part.rpartition("=")
        size_mib = parse_digits(digits.strip())
        if size_mib is None:
            raise ValueError(f"{text!r}: expected N, or PATTERN=N,... such as *GB10*=110000")
        sizes.append((pattern.strip() if equals else "*", size_mib))
    return GivenMemory(tuple(sizes))


def _folded(text: str) -> str:
    return "-".join(text.upper().split())
