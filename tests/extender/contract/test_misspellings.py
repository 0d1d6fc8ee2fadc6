"""A name under the prefix that nobody reads is found, and the one that was meant is guessed, or all are listed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.contract.misspellings import misplaced_on_workload, misspelt_on_node, misspelt_on_pod
from extender.contract.names import Names

NAMES = Names()
NOT_KNOWN = "is not known to gpupack; did you mean"


def meant(annotation: str) -> str:
    """The name that is guessed for an annotation; empty when all are listed."""
    (sentence,) = misspelt_on_pod(NAMES, annotations=[f"gpupack.io/{annotation}"])
    assert sentence.startswith(f"annotation gpupack.io/{annotation} is not known to gpupack; ")
    return sentence.partition("did you mean ")[2].removesuffix("?")


def test_every_name_of_the_contract_is_known() -> None:
    """What people ask with, and what gpupack writes."""
    annotations = [*NAMES.pod_annotations, *NAMES.written_annotations]
    resources = {"main": [*NAMES.resources, "cpu", "memory"]}
    assert misspelt_on_pod(NAMES, annotations=annotations, labels=["app"], resources=resources) == []
    assert misspelt_on_node(NAMES, [NAMES.cordon_annotation, NAMES.inventory_annotation, "team"]) == []


@pytest.mark.parametrize("name", ["gpupack.com/gpu-models", "simulated.gpupack.io/gpu-models", "gpu-models"])
def test_what_is_not_under_the_prefix_is_somebody_elses(name: str) -> None:
    """Only the installation's own domain is looked at."""
    assert misspelt_on_pod(NAMES, annotations=[name], labels=[name], resources={"main": [name]}) == []


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("gpu-models", "gpupack.io/gpu-model"),
        ("gpu_models", "gpupack.io/gpu-model"),
        ("GPU.Count", "gpupack.io/gpu-count"),
        ("policys", "gpupack.io/policy"),
        ("gpu-modle", "gpupack.io/gpu-model"),
        ("gup-model", "gpupack.io/gpu-model"),
        ("gpu-mmodel", "gpupack.io/gpu-model"),
        ("gpu-memory-gib", "the resource gpupack.io/gpu-mem in the limits of a container"),
        ("gpu-cor", "the resource gpupack.io/gpu-core in the limits of a container"),
        ("colour", ""),
        ("gpu-type", ""),
        ("s", ""),
    ],
)
def test_the_name_that_was_meant_is_guessed(written: str, expected: str) -> None:
    """By what is left without capitals, separators and a plural, by one slip, or by its beginning."""
    assert expected == meant(written)


def test_a_name_that_is_like_none_lists_all() -> None:
    """As far as people may write them."""
    (sentence,) = misspelt_on_pod(NAMES, annotations=["gpupack.io/colour"])
    assert sentence == (
        "annotation gpupack.io/colour is not known to gpupack; known are the annotations gpupack.io/gpu-count, "
        "gpupack.io/gpu-model, gpupack.io/policy and the resources gpupack.io/gpu-mem, gpupack.io/gpu, "
        "gpupack.io/gpu-core"
    )


def test_a_container_is_named_and_a_resource_once_told_is_not_repeated() -> None:
    """The API server copies limits to requests."""
    found = misspelt_on_pod(NAMES, resources={"a": ["cpu"], "b": ["gpupack.io/gpumem", "gpupack.io/gpumem"]})
    assert found == [f"container b: resource gpupack.io/gpumem {NOT_KNOWN} gpupack.io/gpu-mem?"]


def test_the_prefix_and_the_gpu_resource_are_the_installations() -> None:
    """A resource that keeps NVIDIA's name is suggested by that name."""
    names = Names("example.com", "nvidia.com/gpu")
    assert misspelt_on_pod(
        names, annotations=["gpupack.io/x", "Example.com/gpu-Model"], resources={"a": ["example.com/gpu"]}
    ) == [
        f"annotation Example.com/gpu-Model {NOT_KNOWN} example.com/gpu-model?",
        f"container a: resource example.com/gpu {NOT_KNOWN} nvidia.com/gpu?",
    ]


def test_a_misspelt_cordon_on_a_node_is_found() -> None:
    """The GPU would stay in use."""
    known = "known are the annotations gpupack.io/cordon, gpupack.io/inventory"
    assert misspelt_on_node(NAMES, ["gpupack.io/cordons", "gpupack.io/gpu-model"]) == [
        f"annotation gpupack.io/cordons {NOT_KNOWN} gpupack.io/cordon?",
        f"annotation gpupack.io/gpu-model is not known to gpupack; {known}",
    ]


@pytest.mark.parametrize(("kind", "inside"), [("Deployment", "spec"), ("CronJob", "spec.jobTemplate.spec")])
def test_an_annotation_of_pods_on_a_workload_itself_is_found(kind: str, inside: str) -> None:
    """Unless its template has it as well; what is not for pods is its own matter."""
    own = ["gpupack.io/gpu-count", "gpupack.io/gpu-model", "gpupack.io/colour", "team"]
    (sentence,) = misplaced_on_workload(NAMES, kind, own, ["gpupack.io/gpu-count"])
    assert sentence == (
        f"annotation gpupack.io/gpu-model of the {kind} itself has no effect; write it into its pod template, "
        f"{inside}.template.metadata.annotations"
    )


@given(st.sampled_from([*NAMES.pod_annotations, *NAMES.resources]), st.data())
def test_a_letter_too_many_is_understood(name: str, data: st.DataObject) -> None:
    """Wherever it stands."""
    written = name.rpartition("/")[2]
    at = data.draw(st.integers(0, len(written)))
    slip = f"gpupack.io/{written[:at]}x{written[at:]}"
    (sentence,) = misspelt_on_pod(NAMES, annotations=[slip])
    assert f"did you mean {name}?" in sentence or f"did you mean the resource {name} in" in sentence
