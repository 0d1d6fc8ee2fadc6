"""Sums up timings as percentiles, and reads the CPU time and memory of a process."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figures:
    """One verb's latency as the caller sees it, and the server's CPU per call; all in milliseconds."""

    calls: int
    p10_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    cpu_ms: float
    bytes_out: int

    def to_json(self) -> dict[str, float]:
        """For the report."""
        return {key: round(value, 3) for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Delays:
    """Delays of `count` events, in seconds."""

    count: int
    p50_s: float
    p99_s: float
    max_s: float


def delays(seconds: Iterable[float]) -> Delays:
    """Their figures.

    Raises:
        ValueError: there are none.
    """
    ordered = sorted(seconds)
    return Delays(len(ordered), percentile(ordered, 0.5), percentile(ordered, 0.99), ordered[-1])


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile.

    Raises:
        ValueError: there are no values.
    """
    if not sorted_values:
        raise ValueError("percentile of no values, expected at least one")
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


class Histogram:
    """Counts timings by whole microseconds in constant memory; longer ones count as 0.1 s."""

    _MOST_US = 100_000

    def __init__(self) -> None:
        self._counts = array("Q", [0]) * (self._MOST_US + 1)
        self._total = 0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[min(self._MOST_US, round(seconds * 1e6))] += 1
        self._total += 1

    def clear(self) -> None:
        """Forget all."""
        for microseconds, count in enumerate(self._counts):
            if count:
                self._counts[microseconds] = 0
        self._total = 0

    def percentile_ms(self, share: float) -> float:
        """Nearest-rank percentile in milliseconds.

        Raises:
            ValueError: there are no values.
        """
        if not self._total:
            raise ValueError("percentile of no values, expected at least one")
        rank, passed = min(self._total - 1, int(share * self._total)), 0
        return next(us for us, count in enumerate(self._counts) if (passed := passed + count) > rank) / 1000


def figures(seconds: Sequence[float], cpu_s: float, bytes_out: int) -> Figures:
    """Figures of `seconds` per call, of which the server spent `cpu_s` on CPU in all and sent `bytes_out`."""
    ordered = sorted(seconds)
    return Figures(
        calls=len(ordered),
        p10_ms=percentile(ordered, 0.10) * 1000,
        p50_ms=percentile(ordered, 0.50) * 1000,
        p90_ms=percentile(ordered, 0.90) * 1000,
        p99_ms=percentile(ordered, 0.99) * 1000,
        cpu_ms=cpu_s / len(ordered) * 1000,
        bytes_out=bytes_out // len(ordered),
    )


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, from /proc (clock ticks of 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    return _status_mib(pid, "VmRSS:")


def peak_rss_mib(pid: int) -> float:
    """The most memory that a process ever had resident."""
    return _status_mib(pid, "VmHWM:")


def _status_mib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status has no {field} line")
