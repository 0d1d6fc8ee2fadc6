"""Reads what a pod asks for from its spec and annotations; equal texts are read only once.

Effective requests follow the kubelet and kube-scheduler (k8s.io/component-helpers/resource, PodRequests): max over
init containers of (it + sidecars before it) against all app containers + all sidecars, per resource.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import msgspec

from extender.contract.containers import ContainerKind
from extender.contract.names import Names
from extender.contract.quantity import parse_milli_quantity, parse_quantity
from extender.contract.units import ContractError
from extender.kube.objects import ABSENT, Container, PodSpec, Quantities, Resources
from extender.scheduling.pods.models import ANY_MODEL, RequestError, parse_models
from extender.scheduling.pods.request import ContainerRequest, PodRequest, pod_request
from extender.scheduling.policies.table import policy_named

MAX_REMEMBERED = 4096
MAX_REMEMBERED_BYTES = 2048
"""Longer texts are read each time, so that the cache is bounded in bytes as well."""

_decode_resources = msgspec.json.Decoder(Resources | None).decode
_decode_quantities = msgspec.json.Decoder(Quantities | None).decode

_Value = TypeVar("_Value")
_Text = tuple[str, bytes, bool]
"""A container's name, the JSON of its resources, and whether it always restarts."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a pod asks for; compared by identity.

    `request` is None when the pod asks for no GPU and when its request is invalid; `error` then says why, and
    `charged` is what to charge when the pod has been bound nevertheless.
    """

    request: PodRequest | None
    charged: PodRequest | None
    error: str
    cpu_milli: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class _Asker:
    """A container, decoded."""

    name: str
    kind: ContainerKind
    limits: Quantities
    requests: Quantities


class Asking:
    """Reads for one installation's names; safe to use from many threads."""

    def __init__(self, names: Names) -> None:
        self._memory_resource = names.memory_resource
        self._gpu_resource = names.gpu_resource
        self._core_resource = names.core_resource
        self._count_annotation = names.count_annotation
        self._model_annotation = names.model_annotation
        self._policy_annotation = names.policy_annotation
        self._remembered = lru_cache(MAX_REMEMBERED)(self._read)

    @property
    def remembered(self) -> int:
        """How many different texts are cached."""
        return self._remembered.cache_info().currsize

    def of(self, spec: PodSpec, annotations: Mapping[str, str]) -> Asked:
        """What this pod asks for.

        Raises:
            msgspec.MsgspecError, UnicodeDecodeError, RecursionError: resources of another form than the API's.
        """
        count, models, policy = "1", None, ""
        length = 0
        if annotations:
            count = annotations.get(self._count_annotation, count)
            models = annotations.get(self._model_annotation)
            policy = annotations.get(self._policy_annotation, policy)
            length = len(count) + len(models or "") + len(policy)
        overhead = b"" if spec.overhead is ABSENT else bytes(spec.overhead)
        pod_resources = b"" if spec.resources is ABSENT else bytes(spec.resources)
        inits, apps = _texts(spec.init_containers), _texts(spec.containers)
        length += len(overhead) + len(pod_resources)
        for name, resources, _restarts in (*inits, *apps):
            length += len(name) + len(resources)
        read = self._remembered if length <= MAX_REMEMBERED_BYTES else self._read
        return read(count, models, policy, overhead, pod_resources, inits, apps)

    def _read(  # noqa: PLR0917 - the key of the cache
        self,
        count: str,
        models: str | None,
        policy: str,
        overhead: bytes,
        pod_resources: bytes,
        inits: tuple[_Text, ...],
        apps: tuple[_Text, ...],
    ) -> Asked:
        askers = [
            *(
                _asker(text, ContainerKind.SIDECAR if text[2] else ContainerKind.INIT, f"$.spec.initContainers[{at}]")
                for at, text in enumerate(inits)
            ),
            *(_asker(text, ContainerKind.APP, f"$.spec.containers[{at}]") for at, text in enumerate(apps)),
        ]
        more = _decoded(_decode_quantities, overhead, "$.spec.overhead") or {}
        of_pod = _decoded(_decode_resources, pod_resources, "$.spec.resources")
        whole_pod = (of_pod.requests if of_pod is not None else None) or {}
        cpu_milli = memory_bytes = 0
        try:
            cpu_milli = _effective(askers, whole_pod, more, "cpu", parse_milli_quantity)
            memory_bytes = _effective(askers, whole_pod, more, "memory", parse_quantity)
            request = self._request(askers, (count, models, policy), cpu_milli, memory_bytes)
        except (RequestError, ContractError) as error:
            charged = self._charged_anyway(askers, cpu_milli, memory_bytes)
            return Asked(None, charged, str(error), cpu_milli, memory_bytes)
        return Asked(request, request, "", cpu_milli, memory_bytes)

    def _request(
        self, askers: Sequence[_Asker], annotated: tuple[str, str | None, str], cpu_milli: int, memory_bytes: int
    ) -> PodRequest | None:
        containers = self._containers(askers)
        if not containers:
            return None
        count, models, policy = annotated
        if not (count.isascii() and count.isdigit() and len(count) < 10):
            raise RequestError(f"annotation {self._count_annotation} is {count[:64]!r}, expected a number of GPUs")
        if policy:
            policy_named(policy)
        return pod_request(
            containers,
            gpu_count=int(count),
            models=parse_models(models) if models is not None else ANY_MODEL,
            policy=policy,
            cpu_milli=cpu_milli,
            memory_bytes=memory_bytes,
        )

    def _charged_anyway(self, askers: Sequence[_Asker], cpu_milli: int, memory_bytes: int) -> PodRequest | None:
        """What a pod asks for by its spec alone, when it was bound in spite of invalid annotations."""
        try:
            containers = self._containers(askers)
            if not containers:
                return None
            return pod_request(containers, cpu_milli=cpu_milli, memory_bytes=memory_bytes, bound=True)
        except (RequestError, ContractError):
            return None  # amounts that no kubelet could have admitted

    def _containers(self, askers: Sequence[_Asker]) -> tuple[ContainerRequest, ...]:
        asking = [self._container(asker) for asker in askers]
        return tuple(container for container in asking if container is not None)

    def _container(self, asker: _Asker) -> ContainerRequest | None:
        memory = asker.limits.get(self._memory_resource)
        gpus = asker.limits.get(self._gpu_resource)
        core = asker.limits.get(self._core_resource)
        if memory is None and gpus is None and core is None:
            return None
        request = ContainerRequest(
            asker.name,
            asker.kind,
            parse_quantity(str(memory or 0)),
            parse_quantity(str(gpus or 0)),
            parse_quantity(str(core or 0)),
        )
        return request if request.memory_units or request.gpus else None


def _texts(containers: Sequence[Container] | None) -> tuple[_Text, ...]:
    if not containers:
        return ()
    return tuple([(one.name, bytes(one.resources), one.restart_policy == "Always") for one in containers])


def _decoded(decode: Callable[[bytes], _Value | None], raw: bytes, where: str) -> _Value | None:
    try:
        return decode(raw) if raw else None
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{where}: {error}") from error


def _asker(text: _Text, kind: ContainerKind, where: str) -> _Asker:
    name, raw, _restarts = text
    resources = _decoded(_decode_resources, raw, f"{where}.resources") or Resources()
    return _Asker(name, kind, resources.limits or {}, resources.requests or {})


def _effective(
    askers: Sequence[_Asker],
    whole_pod: Quantities,
    overhead: Quantities,
    resource: str,
    parse: Callable[[str], int],
) -> int:
    more = parse(str(overhead.get(resource, 0)))
    if resource in whole_pod:
        return parse(str(whole_pod[resource])) + more
    sidecars = largest = apps = 0
    for asker in askers:
        amount = parse(str(asker.requests.get(resource, 0)))
        if asker.kind is ContainerKind.APP:
            apps += amount
        elif asker.kind is ContainerKind.SIDECAR:
            sidecars += amount
            largest = max(largest, sidecars)
        else:
            largest = max(largest, sidecars + amount)
    return max(largest, sidecars + apps) + more
