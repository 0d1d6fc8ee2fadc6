"""What holds for every manifest: a second run changes nothing, other documents keep every byte, no pod is half done."""

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.contract.units import UNIT_CHOICES_MIB
from extender.kubectl.migrating import peers
from extender.kubectl.migrating.manifests import Kind, migrate
from extender.kubectl.migrating.requests import MigrateOptions
from tests.extender.kubectl.migrating.manifests import UNTOUCHED

AMOUNTS = st.one_of(
    st.integers(0, 90000), st.integers(1, 100).map(str), st.sampled_from(["1k", "2Gi", "-1", "x", "0.5"])
)
RESOURCES = st.dictionaries(
    st.sampled_from([*peers.RESOURCES, "nvidia.com/mig-1g.5gb", "cpu", "gpupack.io/gpu-mem"]), AMOUNTS, max_size=4
)
ANNOTATIONS = st.dictionaries(
    st.sampled_from([peers.KAI_MEMORY, peers.KAI_FRACTION, peers.KAI_DEVICES, peers.KAI_CONTAINER, peers.HAMI_USE_TYPE,
                     peers.HAMI_NO_TYPE, "nvidia.com/use-gpuuuid", "other"]),
    st.sampled_from(["1", "2", "0.5", "2000", "a", "b", "A100, V100", "T4*", ""]),
    max_size=3,
)  # fmt: skip
CONTAINERS = st.fixed_dictionaries(
    {"image": st.just("i")},
    optional={
        "resources": st.fixed_dictionaries({}, optional={"limits": RESOURCES, "requests": RESOURCES}),
        "restartPolicy": st.just("Always"),
    },
)


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    """One pod with up to three containers."""
    containers = [{"name": name, **draw(CONTAINERS)} for name in "abc"[: draw(st.integers(1, 3))]]
    inits = draw(st.integers(0, len(containers) - 1))
    spec: dict[str, Any] = {"initContainers": containers[:inits], "containers": containers[inits:]}
    scheduler = draw(st.sampled_from(["", "kai-scheduler", "hami-scheduler", "mine"]))
    if scheduler:
        spec["schedulerName"] = scheduler
    metadata: dict[str, Any] = {"name": "p"}
    if annotations := draw(ANNOTATIONS):
        metadata["annotations"] = annotations
    if draw(st.booleans()):
        metadata["labels"] = {peers.GPUSHARE_COUNT: draw(st.sampled_from(["1", "2", "z"]))}
    return {"kind": "Pod", "metadata": metadata, "spec": spec}


@st.composite
def texts(draw: st.DrawFn) -> list[str]:
    """Documents in changing styles, some of them without pods."""
    documents = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            documents.append(UNTOUCHED)
            continue
        style = draw(st.sampled_from([True, False, None]))
        text = yaml.safe_dump(
            draw(pods()), default_flow_style=style, sort_keys=draw(st.booleans()), indent=draw(st.integers(2, 4))
        )
        if style is False and draw(st.booleans()):
            text = "".join(f"{line}  # why\n" for line in text.splitlines())
        documents.append(text)
    return documents


OPTIONS = st.builds(
    MigrateOptions,
    unit_mib=st.sampled_from(UNIT_CHOICES_MIB),
    gpushare_unit_mib=st.sampled_from([1, 1024]),
    replica_memory_mib=st.none() | st.integers(1, 90000),
    gpu_memory_mib=st.none() | st.integers(1, 90000),
    whole_gpus=st.booleans(),
    kai=st.booleans(),
    scheduler_name=st.sampled_from(["", "gpupack-scheduler"]),
    keep=st.sets(st.sampled_from([peers.NVIDIA_GPU, "nvidia.com/mig-1g.5gb"])).map(frozenset),
    drop=st.sets(
        st.sampled_from([*peers.RESOURCES_WITHOUT_COUNTERPART, peers.HAMI_CORE, "nvidia.com/use-gpuuuid"])
    ).map(frozenset),
)


@settings(max_examples=60, deadline=None)
@given(texts(), OPTIONS)
def test_a_second_run_changes_nothing(documents: list[str], options: MigrateOptions) -> None:
    """Idempotent, and what was undecided still is."""
    once = migrate("---\n".join(documents), options)
    twice = migrate(once.text, options)
    assert (twice.text, twice.pods) == (once.text, 0)
    assert twice.of(Kind.UNDECIDED) == once.of(Kind.UNDECIDED)


@settings(max_examples=40, deadline=None)
@given(texts(), OPTIONS)
def test_a_document_changes_as_if_it_were_alone(documents: list[str], options: MigrateOptions) -> None:
    """So a document without such pods keeps every byte, whatever stands beside it."""
    whole = migrate("---\n".join(documents), options).text
    assert whole == "---\n".join(migrate(document, options).text for document in documents)
    assert whole.count(UNTOUCHED) >= documents.count(UNTOUCHED)


@settings(max_examples=40, deadline=None)
@given(st.tuples(pods(), st.sampled_from([True, False, None])), OPTIONS)
def test_a_pod_is_rewritten_whole_or_not_at_all(
    styled: tuple[dict[str, Any], bool | None], options: MigrateOptions
) -> None:
    """A rewritten one has no old name that was not to be kept; another is the same text. All styles can be changed."""
    text = yaml.safe_dump(styled[0], default_flow_style=styled[1])
    result = migrate(text, options)
    assert not [finding for finding in result.findings if "to be written by hand" in finding.text]
    if not result.pods:
        assert result.text == text
        return
    after = yaml.safe_load(result.text)
    containers = after["spec"]["containers"] + after["spec"]["initContainers"]
    names = {name for each in containers for part in each.get("resources", {}).values() for name, amount in part.items()
             if str(amount) != "0"}  # fmt: skip
    assert not {name for name in names if peers.is_resource(name)} - options.keep
    assert not result.of(Kind.UNDECIDED)
