"""A whole extender on a simulated API server, for the test modules that ask for them by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extender.running import SETTINGS, Api, Extender, serving, simulated


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Api]:
    """A simulated API server, and one node of one GPU."""
    with simulated(tmp_path) as made:
        yield made


@pytest.fixture
def extender(cluster: Api) -> Iterator[Extender]:
    """One that calls its view old after minutes only, whatever else this machine does meanwhile."""
    with serving(cluster, SETTINGS) as running:
        yield running
