"""The error of a pynvml-like module, for fakes of the few calls that the simulated driver does not have."""


class NVMLError(Exception):
    """pynvml's error: `value` is NVML's return code."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value
