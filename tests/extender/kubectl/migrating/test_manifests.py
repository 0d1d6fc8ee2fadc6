"""Whole texts: pods are rewritten in place, everything else keeps every byte, and what is unclear is said."""

import pytest
import yaml

from extender.contract.names import Names
from extender.contract.units import UnitMib
from extender.kubectl.migrating.manifests import Kind, migrate
from extender.kubectl.migrating.requests import MigrateOptions
from extender.kubectl.migrating.yamltext import ManifestError
from tests.extender.kubectl.migrating.manifests import GPUSHARE, HAMI, KAI, UNTOUCHED, pod, stream

JSON = (
    '{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "m", "resources": '
    '{"limits": {"nvidia.com/gpu": 2, "nvidia.com/gpumem": "512", "cpu": 1}}}]}}'
)
FLOW = (
    "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: m, resources: {limits: "
    "{cpu: 1, nvidia.com/gpu: 2, nvidia.com/gpumem: '512'}}}]}\n"
)
BLOCK = """\
spec:
  containers:
  - resources:
      limits:
        nvidia.com/gpumem: 512
        nvidia.com/gpu: 2
        cpu: 1
    name: m
kind: Pod
metadata:
  name: a
"""


def test_gpushare_memory_changes_its_name_and_nothing_else() -> None:
    """Comments and blanks stay."""
    result = migrate(GPUSHARE, MigrateOptions())
    assert result.text == GPUSHARE.replace("aliyun.com/gpu-mem", "gpupack.io/gpu-mem")
    assert [(finding.kind, finding.where, finding.text) for finding in result.findings] == [
        (
            Kind.CHANGED,
            "StatefulSet team/binpack",
            "container main: aliyun.com/gpu-mem: 3 (GiB) -> gpupack.io/gpu-mem: 3 (3 x 1024 MiB)",
        )
    ]


def test_hami_memory_is_summed_over_its_gpus_and_models_become_patterns() -> None:
    """Two vGPUs of 3000 MiB are 2 x 3 units."""
    result = migrate(HAMI, MigrateOptions())
    assert result.text == (
        HAMI.replace(
            'nvidia.com/use-gputype: "A100,V100"',
            'gpupack.io/gpu-model: "*A100*,*V100*"\n    gpupack.io/gpu-count: "2"',
        )
        .replace("  schedulerName: hami-scheduler\n", "")
        .replace("nvidia.com/gpu: 2 # vGPUs\n          nvidia.com/gpumem: 3000\n", "gpupack.io/gpu-mem: 6 # vGPUs\n")
    )
    assert "72 MiB more on each GPU" in result.findings[0].text


def test_kai_annotations_become_limits_of_the_first_container() -> None:
    """What is left empty goes; the comment in it stays."""
    result = migrate(KAI, MigrateOptions(scheduler_name="gpupack-scheduler"))
    assert result.text == (
        KAI.replace("  annotations:\n", "")
        .replace('    gpu-memory: "2000"\n', "")
        .replace("kai-scheduler", "gpupack-scheduler")
        .replace(
            "notebook\n      args",
            "notebook\n      resources:\n        limits:\n          gpupack.io/gpu-mem: 2\n      args",
        )
    )
    assert [finding.text for finding in result.of(Kind.NOTE)] == [
        "label kai.scheduler/queue stays, but gpupack has no queues: ResourceQuota or Kueue limits what a team gets"
    ]


def test_documents_without_such_pods_keep_every_byte() -> None:
    """Also between documents that change, and with a name in some text."""
    text = stream(UNTOUCHED, GPUSHARE, UNTOUCHED)
    assert migrate(text, MigrateOptions()).text == stream(
        UNTOUCHED, GPUSHARE.replace("aliyun.com/gpu-mem", "gpupack.io/gpu-mem"), UNTOUCHED
    )


def test_windows_line_ends_stay() -> None:
    """Added lines have them as well."""
    result = migrate(KAI.replace("\n", "\r\n"), MigrateOptions())
    assert result.text == migrate(KAI, MigrateOptions()).text.replace("\n", "\r\n")


@pytest.mark.parametrize("text", [JSON, FLOW, BLOCK])
def test_every_style_of_yaml_gives_the_same_pod(text: str) -> None:
    """JSON, flow and block; the count is text, as annotations are."""
    after = yaml.safe_load(migrate(text, MigrateOptions()).text)
    assert after["metadata"] == {"name": "a", "annotations": {"gpupack.io/gpu-count": "2"}}
    limits = after["spec"]["containers"][0]["resources"]["limits"]
    assert {name: int(amount) for name, amount in limits.items()} == {"cpu": 1, "gpupack.io/gpu-mem": 2}


def test_what_is_left_empty_goes_and_its_surroundings_stay() -> None:
    """A container whose only limit was compute, in a pod that is migrated, in both styles."""
    text = """\
kind: Pod
metadata: {name: a}
spec:
  containers:
    - name: main
      resources: {limits: {aliyun.com/gpu-mem: 2, cpu: 1}, requests: {aliyun.com/gpu-mem: 2}}
    - name: helper
      resources: {limits: {nvidia.com/gpucores: 10}}
    - name: other
      resources:
        # only this
        limits:
          nvidia.com/gpucores: 10
"""
    assert migrate(text, MigrateOptions(drop=frozenset({"nvidia.com/gpucores"}))).text == (
        text.replace("aliyun.com/gpu-mem", "gpupack.io/gpu-mem")
        .replace("{limits: {nvidia.com/gpucores: 10}}", "{}")
        .replace("        limits:\n          nvidia.com/gpucores: 10\n", "")
    )


def test_many_entries_of_one_line_may_go() -> None:
    """The first is replaced, those behind it go with their commas."""
    before = "{nvidia.com/gpu: 1, cpu: 1, nvidia.com/gpumem: 1024, nvidia.com/gpucores: 40, nvidia.com/priority: 1}"
    text = f"kind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: m, resources: {{limits: {before}}}}}]}}\n"
    after = "{gpupack.io/gpu-mem: 1, gpupack.io/gpu-core: 40, cpu: 1}"
    assert migrate(text, MigrateOptions(drop=frozenset({"nvidia.com/priority"}))).text == text.replace(before, after)


def test_pods_are_found_in_any_object() -> None:
    """Operators put templates where they like; here all three share what they ask for through an anchor."""
    inner = yaml.safe_load(pod({"aliyun.com/gpu-mem": 4}))
    worker = {"template": {"metadata": {}, "spec": inner["spec"]}}
    job = {"kind": "PyTorchJob", "metadata": {"name": "j"}, "spec": {"pytorchReplicaSpecs": {"Worker": worker}}}
    cron = {"kind": "CronJob", "metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": worker}}}
    result = migrate(yaml.safe_dump({"kind": "List", "items": [job, cron, inner]}), MigrateOptions())
    assert (result.pods, str(yaml.safe_load(result.text)).count("'gpupack.io/gpu-mem': 4")) == (3, 3)
    assert [finding.where for finding in result.findings] == [
        "PyTorchJob j, spec.pytorchReplicaSpecs.Worker.template",
        "CronJob c",
        "Pod one",
    ]


def test_requests_follow_the_limits() -> None:
    """The API server wants them equal."""
    document = yaml.safe_load(pod({"aliyun.com/gpu-mem": 4}))
    document["spec"]["containers"][0]["resources"]["requests"] = {"aliyun.com/gpu-mem": 4, "cpu": 1}
    after = yaml.safe_load(migrate(yaml.safe_dump(document), MigrateOptions(unit_mib=UnitMib(256))).text)
    assert after["spec"]["containers"][0]["resources"] == {
        "limits": {"gpupack.io/gpu-mem": 16},
        "requests": {"gpupack.io/gpu-mem": 16, "cpu": 1},
    }


def test_an_anchor_that_another_pod_needs_as_it_is_is_not_changed() -> None:
    """The change would reach further than it should."""
    text = """\
kind: Pod
metadata: {name: a}
spec:
  containers:
    - name: main
      resources: {limits: &same {aliyun.com/gpu-mem: 2}}
other: *same
"""
    result = migrate(text, MigrateOptions())
    assert (result.text, result.pods) == (text, 0)
    assert "an anchor or a merge" in result.of(Kind.UNDECIDED)[0].text


def test_an_anchor_that_all_pods_share_is_changed_once() -> None:
    """The usual case: one set of resources for several containers."""
    text = """\
kind: Pod
metadata: {name: a}
spec:
  containers:
    - name: main
      resources: &same {limits: {aliyun.com/gpu-mem: 2}}
    - name: other
      resources: *same
"""
    assert migrate(text, MigrateOptions()).text == text.replace("aliyun.com/gpu-mem", "gpupack.io/gpu-mem")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("requests.aliyun.com/gpu-mem: 40", "requests.gpupack.io/gpu-mem: 40"),
        ('limits.nvidia.com/gpumem: "8192"', 'requests.gpupack.io/gpu-mem: "8"'),
    ],
)
def test_a_quota_that_units_hold_exactly_is_changed(before: str, after: str) -> None:
    """A quota of the old resource would hold nobody back."""
    text = f"kind: ResourceQuota\nmetadata:\n  name: q\nspec:\n  hard:\n    pods: 4\n    {before} # team\n"
    result = migrate(text, MigrateOptions())
    assert (result.text, result.pods, result.of(Kind.UNDECIDED)) == (text.replace(before, after), 0, ())


def test_names_outside_of_pods_are_said_and_left() -> None:
    """Such as a quota that would have to be rounded."""
    text = "kind: ResourceQuota\nmetadata: {name: q, namespace: n}\nspec: {hard: {limits.nvidia.com/gpumem: 40}}\n"
    result = migrate(text, MigrateOptions())
    assert result.text == text
    assert [(finding.kind, finding.where, finding.text) for finding in result.findings] == [
        (
            Kind.UNDECIDED,
            "ResourceQuota n/q",
            "spec.hard: limits.nvidia.com/gpumem stays, and is to be changed by hand",
        )
    ]


def test_a_json_patch_is_said_and_left() -> None:
    """It names a resource in a path, with ~1 for the slash."""
    text = "- op: add\n  path: /spec/template/spec/containers/0/resources/limits/nvidia.com~1gpu\n  value: 1\n"
    result = migrate(text, MigrateOptions())
    assert result.text == text
    assert [finding.text for finding in result.findings] == ["0: nvidia.com/gpu stays, and is to be changed by hand"]


def test_a_pod_with_a_question_stays_whole_while_others_change() -> None:
    """Half a pod would never start."""
    unclear = pod({"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 50})
    result = migrate(stream(unclear, pod({"aliyun.com/gpu-mem": 4})), MigrateOptions())
    assert result.text == stream(unclear, pod({"gpupack.io/gpu-mem": 4}))
    assert [finding.kind for finding in result.findings] == [Kind.UNDECIDED, Kind.CHANGED]


def test_whole_gpus_under_nvidias_name_need_no_change_where_gpupack_serves_that_name() -> None:
    """`--gpu-resource nvidia.com/gpu` of the device plugin."""
    text = pod({"nvidia.com/gpu": 2})
    result = migrate(text, MigrateOptions(names=Names(gpu_resource="nvidia.com/gpu")))
    assert (result.text, result.findings) == (text, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nvidia.com/gpu: [", "not YAML"),
        ("nvidia.com/gpu: {{ .Values.gpus }}\n a: b", "templates of Helm have to be rendered first"),
        (
            "nvidia.com/gpu: 1\na: &a ["
            + "x, " * 9
            + "]\n"
            + "".join(f"b{n}: &b{n} [" + f"*{'a' if n == 0 else f'b{n - 1}'}, " * 9 + "]\n" for n in range(9)),
            "values or",
        ),
        ("nvidia.com/gpu: &a [*a]", "levels"),
    ],
)
def test_text_that_is_no_manifest_is_refused(text: str, message: str) -> None:
    """Also one that would take for ever to read."""
    with pytest.raises(ManifestError, match=message):
        migrate(text, MigrateOptions())
