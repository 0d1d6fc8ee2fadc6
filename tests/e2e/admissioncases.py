"""Pods that the shipped admission policies refuse, with what they say, and pods that they let through."""

from collections.abc import Mapping
from typing import Any

from bench.simulated.client import FailureStatusError
from tests.e2e.api import Api, Json
from tests.e2e.podspecs import container, pod

MEM, GPU, CORE = "gpupack.io/gpu-mem", "gpupack.io/gpu", "gpupack.io/gpu-core"
COUNT, MODEL, POLICY = "gpupack.io/gpu-count", "gpupack.io/gpu-model", "gpupack.io/policy"
ALLOCATION, ALLOCATED = "gpupack.io/allocation", "gpupack.io/allocated"
NAMESPACE = "team-a"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"

ZERO = (
    "container main: asks for 0 of a gpupack.io resource, expected 1 or more; omit the resource where no GPU is needed"
)
_BYTES = (
    "asks for more than 1048576 of a gpupack.io resource; gpu-mem counts memory units, "
    "so ask for a plain number such as 8, not 8Gi"
)
_MIXED = "asks for gpupack.io/gpu-mem and for gpupack.io/gpu (whole GPUs), expected one of them"
_WHOLE_CORE = (
    "asks for gpupack.io/gpu-core and for gpupack.io/gpu (whole GPUs), which include all of their compute; "
    "expected one of them"
)
_POLICIES = (
    "binpack, spread, first-fit, gpu-packing, gpu-clustering, random, exclusive, gpushare, best-fit, dot-product, fgd, "
    "price-fit, price-fit-robust"
)


def asking(limits: Mapping[str, int | str], annotations: Mapping[str, str] | None = None, **fields: Any) -> Json:
    """A pod with one container, called main; `fields` are added to the container."""
    return pod("asks", {**container(limits=limits), **fields}, annotations=annotations)


def with_variable(name: str, limits: Mapping[str, int | str], **source: Any) -> Json:
    """A pod whose container sets an environment variable."""
    return asking(limits, env=[{"name": name, **source}])


def bypassing(container: str, variable: str) -> str:
    """What is said of a variable that a container must not set."""
    return (
        f"container {container}: sets {variable}, which would override the GPUs or limits that gpupack sets; remove it"
    )


def _main(sentence: str) -> str:
    return f"container main: {sentence}"


def _model(text: str) -> str:
    return f"annotation gpupack.io/gpu-model is '{text}', expected patterns such as A100*,!*MIG*"


def _count(text: str) -> str:
    return f"annotation gpupack.io/gpu-count is '{text}', expected a number of GPUs, 1 or more"


def _beside(value: str) -> Json:
    """A container that asks, and one that does not but sets the GPUs that it sees."""
    other = {**container("b"), "env": [{"name": "NVIDIA_VISIBLE_DEVICES", "value": value}]}
    return pod("asks", container("a", {MEM: 2}), other)


_NAME = {"fieldRef": {"fieldPath": "metadata.name"}}

REFUSED: Mapping[str, tuple[Json, str]] = {
    "bytes": (asking({MEM: "8Gi"}), _main(_BYTES)),
    "mixed": (asking({MEM: 8, GPU: 1}), _main(_MIXED)),
    "whole with core": (asking({GPU: 1, CORE: 50}), _main(_WHOLE_CORE)),
    "core alone": (
        asking({CORE: 50}),
        _main("asks for gpupack.io/gpu-core without gpupack.io/gpu-mem, expected both"),
    ),
    "too much core": (
        asking({MEM: 8, CORE: 101}),
        _main("gpupack.io/gpu-core is 101, expected at most 100 percent for each of its GPUs (1)"),
    ),
    "too much core on two": (
        asking({MEM: 8, CORE: 202}, {COUNT: "2"}),
        _main("gpupack.io/gpu-core is 202, expected at most 100 percent for each of its GPUs (2)"),
    ),
    "core not divided": (
        asking({MEM: 8, CORE: 51}, {COUNT: "2"}),
        _main("gpupack.io/gpu-core 51 is not divisible by gpupack.io/gpu-count 2"),
    ),
    "memory not divided": (
        asking({MEM: 7}, {COUNT: "2"}),
        _main("gpupack.io/gpu-mem 7 is not divisible by gpupack.io/gpu-count 2"),
    ),
    "count of nothing": (
        asking({GPU: 2}, {COUNT: "2"}),
        f"annotation {COUNT} is 2 but no container asks for {MEM}, expected gpu-mem to spread over the GPUs",
    ),
    "count in words": (asking({MEM: 8}, {COUNT: "two"}), _count("two")),
    "count of 0": (asking({MEM: 8}, {COUNT: "0"}), _count("0")),
    "negative count": (asking({MEM: 8}, {COUNT: "-2"}), _count("-2")),
    "endless count": (asking({MEM: 8}, {COUNT: "1000000000"}), _count("1000000000")),
    "empty model": (asking({MEM: 8}, {MODEL: "A100*,,T4"}), _model("A100*,,T4")),
    "no model": (asking({MEM: 8}, {MODEL: ""}), _model("")),
    "refused nothing": (asking({MEM: 8}, {MODEL: "! "}), _model("! ")),
    "endless model": (asking({MEM: 8}, {MODEL: "x" * 1025}), _model("x" * 64 + "...")),
    "unknown policy": (
        asking({MEM: 8}, {POLICY: "best"}),
        f"annotation gpupack.io/policy is 'best', expected one of {_POLICIES}",
    ),
    "in an init container": (
        pod("asks", init_containers=(container("first", {MEM: 3}),), annotations={COUNT: "2"}),
        "container first: gpupack.io/gpu-mem 3 is not divisible by gpupack.io/gpu-count 2",
    ),
    "in the second container": (
        pod("asks", container("a", {MEM: 2}), container("b", {MEM: 2, GPU: 1})),
        f"container b: {_MIXED}",
    ),
}
BYPASSING: Mapping[str, tuple[Json, str]] = {
    "all GPUs by variable": (
        with_variable("NVIDIA_VISIBLE_DEVICES", {MEM: 8}, value="all"),
        bypassing("main", "NVIDIA_VISIBLE_DEVICES"),
    ),
    "a GPU from elsewhere": (
        with_variable("NVIDIA_VISIBLE_DEVICES", {GPU: 1}, valueFrom=_NAME),
        bypassing("main", "NVIDIA_VISIBLE_DEVICES"),
    ),
    "another limit of MPS": (
        with_variable("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", {MEM: 8}, value="0=40G"),
        bypassing("main", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"),
    ),
    "another limit of the driver": (
        with_variable("NVIDIA_GPU_MEMORY_LIMIT", {MEM: 8}, value="81920"),
        bypassing("main", "NVIDIA_GPU_MEMORY_LIMIT"),
    ),
    "beside one that asks": (_beside("0"), bypassing("b", "NVIDIA_VISIBLE_DEVICES")),
}
LET_THROUGH: Mapping[str, Json] = {
    "no GPU at all": pod("asks"),
    "no GPU, and annotations that nobody reads": pod("asks", annotations={COUNT: "two", MODEL: "", POLICY: "best"}),
    "no GPU, and a monitor that sees them all": with_variable("NVIDIA_VISIBLE_DEVICES", {}, value="all"),
    "a share": asking({MEM: 8}),
    "a share with compute": asking({MEM: 8, CORE: 50}),
    "whole GPUs": asking({GPU: 8}),
    "two GPUs": asking({MEM: 8, CORE: 200}, {COUNT: "2"}),
    "one GPU, and it says so": asking({MEM: 7}, {COUNT: "1"}),
    "models and policy": asking({MEM: 8}, {MODEL: "A100*, !*MIG*", POLICY: "spread"}),
    "thousands": asking({MEM: "1k"}),
    "a container that wants no GPU": _beside("void"),
    "a 0 that a LimitRange wrote": asking({MEM: 0}),
    "a 0 that a LimitRange wrote beside whole GPUs": asking({MEM: 0, GPU: 1}),
    "shares and whole GPUs in two containers": pod("asks", container("a", {MEM: 2}), container("b", {GPU: 1})),
    "two GPUs, and one container without": pod(
        "asks", container("a", {MEM: 2}), container("b"), annotations={COUNT: "2"}
    ),
}


_NOT_KNOWN = "is not known to gpupack; did you mean"
_KNOWN = (
    "is not known to gpupack; known are the annotations gpupack.io/gpu-count, gpupack.io/gpu-model, gpupack.io/policy "
    "and the resources gpupack.io/gpu-mem, gpupack.io/gpu, gpupack.io/gpu-core"
)


def _annotated(name: str, meant: str = "", limits: Mapping[str, int] | None = None) -> tuple[Json, str]:
    """A pod with the annotation `name`, and that `meant` was probably meant."""
    what = f"{_NOT_KNOWN} {meant}?" if meant else _KNOWN
    return asking(
        {MEM: 8} if limits is None else limits, {f"gpupack.io/{name}": "2"}
    ), f"annotation gpupack.io/{name} {what}"


def _limited(name: str, meant: str = "") -> tuple[Json, str]:
    """A pod whose container asks for the resource `name`."""
    what = f"{_NOT_KNOWN} {meant}?" if meant else _KNOWN
    return asking({f"gpupack.io/{name}": 2}), f"container main: resource gpupack.io/{name} {what}"


_AS_RESOURCE, _AS_ANNOTATION = "in the limits of a container", "of the pod"
MISSPELT: Mapping[str, tuple[Json, str]] = {
    "plural": _annotated("gpu-models", MODEL),
    "underscore": _annotated("gpu_count", COUNT),
    "nothing between": _annotated("gpucount", COUNT),
    "capitals": _annotated("GPU-Model", MODEL),
    "letters swapped": _annotated("gpu-modle", MODEL),
    "letters of gpu swapped": _annotated("gup-model", MODEL),
    "letter missing": _annotated("gpu-cont", COUNT),
    "letter too many": _annotated("polizcy", POLICY),
    "letter wrong": _annotated("gpu-moden", MODEL),
    "without gpu": _annotated("model", MODEL),
    "with gpu": _annotated("gpu-policy", POLICY),
    "longer": _annotated("gpu-model-name", MODEL),
    "shorter": _annotated("gpu-pol", POLICY),
    "a resource as an annotation": _annotated("gpu-mem", f"the resource {MEM} {_AS_RESOURCE}", {}),
    "a misspelt resource as an annotation": _annotated("gpu-memory", f"the resource {MEM} {_AS_RESOURCE}", {}),
    "a node's annotation": _annotated("cordon"),
    "not a name at all": _annotated("colour"),
    "resource without a dash": _limited("gpumem", MEM),
    "resource in full": _limited("gpu-memory", MEM),
    "resource in the plural": _limited("gpus", GPU),
    "resource with a letter too many": _limited("vgpu", GPU),
    "resource shortened": _limited("core", CORE),
    "an annotation as a resource": _limited("gpu-count", f"the annotation {COUNT} {_AS_ANNOTATION}"),
    "not a resource at all": _limited("tpu-slice"),
    "an annotation as a label": (
        pod("asks", container(limits={MEM: 8}), labels={MODEL: "A100"}),
        f"label {MODEL} {_NOT_KNOWN} the annotation {MODEL} {_AS_ANNOTATION}?",
    ),
    "a resource as a label": (
        pod("asks", labels={MEM: "8"}),
        f"label {MEM} {_NOT_KNOWN} the resource {MEM} {_AS_RESOURCE}?",
    ),
    "in an init container": (
        pod("asks", init_containers=(container("first", {"gpupack.io/gpu-cores": 50}),)),
        f"container first: resource gpupack.io/gpu-cores {_NOT_KNOWN} {CORE}?",
    ),
    "beside a name that is right": (
        asking({MEM: 8}, {MODEL: "A100*", "gpupack.io/gpu-counts": "2"}),
        f"annotation gpupack.io/gpu-counts {_NOT_KNOWN} {COUNT}?",
    ),
}
"""What the policy gpupack-names refuses."""


def refusal(api: Api, body: Mapping[str, Any], path: str = PODS) -> str:
    """What a policy says of creating the object, without the API server's own words before it; empty when it may be."""
    try:
        api.create(f"{path}?dryRun=All", body)
    except FailureStatusError as error:
        return said(error)
    return ""


def said(error: FailureStatusError) -> str:
    """The policy's sentence alone.

    Raises:
        RequestError: the error itself, when it is not a policy's.
    """
    _, found, sentence = error.message.partition(" denied request: ")
    if not found:
        raise error
    return sentence
