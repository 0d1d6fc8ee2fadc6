"""Peaks of several files are one picture: the largest of each pod and GPU counts."""

from pathlib import Path

import pytest

from extender.contract.units import GpuUuid
from extender.kubectl.cluster.usage import PEAK_METRIC, NodeUsage, peaks_of, read_peaks
from extender.kubectl.options import BadUsage

GPU, OTHER = GpuUuid("GPU-1"), GpuUuid("GPU-2")


def _file(folder: Path, name: str, pod: str, uuid: str, mib: int) -> Path:
    file = folder / name
    labels = f'UUID="{uuid}",namespace="ml",pod="{pod}",container="main"'
    file.write_text(f"# TYPE {PEAK_METRIC} gauge\n{PEAK_METRIC}{{{labels}}} {mib << 20}\n")
    return file


def test_files_are_taken_together(tmp_path: Path) -> None:
    """One for each node, or of several days."""
    files = [
        _file(tmp_path, "monday", "a", GPU, 3000),
        _file(tmp_path, "tuesday", "a", GPU, 2000),
        _file(tmp_path, "other", "a", OTHER, 100),
        _file(tmp_path, "third", "b", GPU, 1),
    ]
    assert read_peaks(files) == {("ml", "a"): {GPU: 3000.0, OTHER: 100.0}, ("ml", "b"): {GPU: 1.0}}


def test_a_scrape_is_read_the_same_way() -> None:
    """A node without peaks adds nothing."""
    nodes = [NodeUsage(peaks={("ml", "a"): {GPU: 5.0}}), NodeUsage()]
    assert peaks_of(nodes) == {("ml", "a"): {GPU: 5.0}}


def test_a_file_without_peaks_is_an_error(tmp_path: Path) -> None:
    """It would look like pods of which nobody knows anything."""
    file = tmp_path / "up.txt"
    file.write_text("up 1\n")
    with pytest.raises(BadUsage, match=f"up.txt: has no {PEAK_METRIC}, expected metrics of a node agent"):
        read_peaks([file])
