"""Every name follows the installation's prefix."""

import pytest

from extender.contract.names import Names


def test_default_names() -> None:
    """The names that the documentation shows."""
    names = Names()
    assert [names.memory_resource, names.gpu_resource, names.allocation_annotation] == [
        "gpupack.io/gpu-mem",
        "gpupack.io/gpu",
        "gpupack.io/allocation",
    ]


def test_the_whole_gpu_resource_may_keep_nvidias_name() -> None:
    """Unchanged pods that ask for nvidia.com/gpu can be served."""
    assert Names(gpu_resource="nvidia.com/gpu").gpu_resource == "nvidia.com/gpu"


@pytest.mark.parametrize("resource", ["gpu", "nvidia.com/", "nvidia.com/g pu", "NVIDIA.com/gpu", "nvidia.com/gpu-"])
def test_a_resource_that_the_api_server_would_refuse_is_refused(resource: str) -> None:
    """The same, with what was expected."""
    with pytest.raises(ValueError, match="expected a name such as gpupack"):
        Names(gpu_resource=resource)


@pytest.mark.parametrize("prefix", ["", "Upper.io", "-a", "a/b", "a b"])
def test_a_prefix_that_the_api_server_would_refuse_is_refused(prefix: str) -> None:
    """Found at start, not at the first bind."""
    with pytest.raises(ValueError, match="prefix"):
        Names(prefix=prefix)
