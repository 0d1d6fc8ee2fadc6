"""A GPU that says what a test wants, for stages and the runner."""

from collections.abc import Mapping

from device_plugin.gpus.readings import GpuReading
from extender.contract.units import GpuUuid

UUID = GpuUuid("GPU-a")


class FakeDayGpu:
    """A `DayGpu` with one reading."""

    def __init__(self, reading: GpuReading | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.now = reading or GpuReading(UUID)
        self._environment = dict(environment or {})

    @property
    def uuid(self) -> GpuUuid:
        """Its UUID."""
        return UUID

    def reading(self) -> GpuReading:
        """What the test said."""
        return self.now

    def environment(self) -> Mapping[str, str]:
        """What the test said."""
        return self._environment
