"""Says what came of one question to the driver: an answer, that it has none to give, or that asking failed."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """One answer; without value and trouble, the driver has no such answer about this GPU, which says nothing of it.

    Args:
        value: what was answered.
        trouble: why asking failed, in the driver's words; such a GPU cannot be trusted.
        is_lost: the driver says that the GPU itself is gone, so further questions are in vain.

    Raises:
        ValueError: an answer that is also a failure.
    """

    value: T | None = None
    trouble: str = ""
    is_lost: bool = False

    def __post_init__(self) -> None:
        if self.trouble and self.value is not None:
            raise ValueError(f"answer {self.value!r} with the trouble {self.trouble!r}: expected one of them")
        if self.is_lost and not self.trouble:
            raise ValueError("a lost GPU without trouble: expected why it is lost")


@dataclass(frozen=True, slots=True)
class MemorySize:
    """Memory of a GPU in bytes; `reserved` is what driver and firmware keep for themselves, 0 when not said.

    `used` is what is in use at the moment, None when not said; it includes what is reserved when that is not said.
    """

    total: int
    reserved: int = 0
    used: int | None = field(default=None, compare=False)

    @property
    def usable(self) -> int:
        """What processes can allocate."""
        return self.total - self.reserved
