"""Gives each example's test the one cluster and the commands that docs/examples.md says."""

from collections.abc import Iterator

import pytest

from tests.e2e.binaries import Binaries
from tests.e2e.controlplane import ControlPlane
from tests.e2e.examples.cluster import ExampleCluster, Walk
from tests.e2e.examples.documented import PAGE, sections


@pytest.fixture(scope="package")
def cluster(binaries: Binaries) -> Iterator[ExampleCluster]:
    """The cluster of all examples; each leaves it empty."""
    with ControlPlane(binaries) as control_plane, ExampleCluster(control_plane) as started:
        yield started


@pytest.fixture
def walk(request: pytest.FixtureRequest, cluster: ExampleCluster) -> Iterator[Walk]:
    """The commands of the section that the test is named for; it has to run all of them, and leave nothing behind."""
    blocks = sections(PAGE.read_text(encoding="utf-8"))[request.node.name.removeprefix("test_")]
    walked = Walk(cluster, blocks)
    with walked.checker:
        yield walked
        try:
            assert [block.text for block in walked.left] == []
            cluster.wait_empty()
        except BaseException:
            cluster.clear()
            raise
        assert walked.checker.settle() == ()
