"""Paths as kubelets and runtimes really make them, and the pods and containers that they mean."""

import pytest

from device_plugin.usage.procfs import CgroupPlace, parse_cgroup

UID = "0f5e7a52-6f0b-4b1e-9d3c-2b1f6a7c8d90"
SAFE = UID.replace("-", "_")
ID = "3f4a" * 16
STATIC = "d41d8cd98f00b204e9800998ecf8427e"
KUBEPODS = "/kubepods.slice/kubepods-burstable.slice"
SLICE = f"{KUBEPODS}/kubepods-burstable-pod{SAFE}.slice"

KIND = f"/docker/{'ab' * 32}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice"


@pytest.mark.parametrize(
    ("path", "uid", "container"),
    [
        # systemd driver
        (f"{SLICE}/cri-containerd-{ID}.scope", UID, ID),
        (f"{SLICE}/crio-{ID}.scope", UID, ID),
        (f"{SLICE}/crio-{ID}.scope/container", UID, ID),
        (f"{SLICE}/docker-{ID}.scope", UID, ID),
        (f"{SLICE}/crio-conmon-{ID}.scope", UID, ""),
        (SLICE, UID, ""),
        (f"/kubepods.slice/kubepods-pod{SAFE}.slice/cri-containerd-{ID}.scope", UID, ID),
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SAFE}.slice/cri-containerd-{ID}.scope",
            UID,
            ID,
        ),
        (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC}.slice/crio-{ID}.scope", STATIC, ID),
        # cgroupfs driver
        (f"/kubepods/burstable/pod{UID}/{ID}", UID, ID),
        (f"/kubepods/besteffort/pod{UID}/{ID}/init.scope", UID, ID),
        (f"/kubepods/pod{UID}/{ID}", UID, ID),
        (f"/kubepods/burstable/pod{UID}/crio-{ID}", UID, ID),
        (f"/kubepods/burstable/pod{STATIC}/{ID}", STATIC, ID),
        # containerd told of cgroupfs under a kubelet with systemd
        (f"/system.slice/containerd.service/kubepods-burstable-pod{SAFE}.slice:cri-containerd:{ID}", UID, ID),
        # a node that is a container itself, as kind makes them
        (f"{KIND}/kubelet-kubepods-burstable-pod{SAFE}.slice/cri-containerd-{ID}.scope", UID, ID),
        (f"/docker/{'ab' * 32}/kubelet/kubepods/burstable/pod{UID}/{ID}", UID, ID),
        # seen from a container with a cgroup namespace of its own
        (f"/../../../kubepods-burstable.slice/kubepods-burstable-pod{SAFE}.slice/cri-containerd-{ID}.scope", UID, ID),
        (f"/../../kubepods-burstable-pod{SAFE}.slice/cri-containerd-{ID}.scope", UID, ID),
        (f"/../cri-containerd-{ID}.scope", "", ID),
        # what a container makes below itself, and calls like another pod
        (f"{SLICE}/cri-containerd-{ID}.scope/kubepods/pod{STATIC}/{'cd' * 32}", UID, ID),
        # no pods
        ("/user.slice/user-1000.slice/session-3.scope", "", ""),
        ("/system.slice/gdm.service", "", ""),
        (f"/system.slice/docker-{ID}.scope", "", ID),
        ("/", "", ""),
        ("/../../../../init.scope", "", ""),
        ("/kubepods.slice/kubepods-burstable.slice", "", ""),
        ("/home/podcast/kubepods", "", ""),
    ],
)
def test_version_2(path: str, uid: str, container: str) -> None:
    """One line, `0::` and the path."""
    found = parse_cgroup(f"0::{path}\n")
    assert (found.pod_uid, found.container_id) == (uid, container)


def test_version_1() -> None:
    """A line per hierarchy; no path of version 2, which is what limits need."""
    lines = [
        "12:devices:/kubepods/burstable/pod{uid}/{id}",
        "11:memory:/kubepods/burstable/pod{uid}/{id}",
        "1:name=systemd:/kubepods/burstable/pod{uid}/{id}",
    ]
    text = "\n".join(line.format(uid=UID, id=ID) for line in lines)
    assert parse_cgroup(text) == CgroupPlace(UID, ID, "")


def test_both_versions_at_once() -> None:
    """The unified hierarchy of a hybrid system has no pods; the others have."""
    text = f"11:memory:{SLICE}/cri-containerd-{ID}.scope\n0::/system.slice/containerd.service\n"
    assert parse_cgroup(text) == CgroupPlace(UID, ID, "")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"{SLICE}/crio-{ID}.scope", f"{SLICE}/crio-{ID}.scope"),
        (f"{SLICE}/crio-{ID}.scope/container/deeper", f"{SLICE}/crio-{ID}.scope"),
        (f"/../../kubepods-burstable-pod{SAFE}.slice/cri-containerd-{ID}.scope", f"{SLICE}/cri-containerd-{ID}.scope"),
        (
            f"/../../../kubepods-burstable.slice/kubepods-burstable-pod{SAFE}.slice/crio-{ID}.scope",
            f"{SLICE}/crio-{ID}.scope",
        ),
        (f"/../../../..{SLICE}/crio-{ID}.scope", f"{SLICE}/crio-{ID}.scope"),
        (f"/../../pod{UID}/{ID}", ""),
        (f"/../../../kubepods/burstable/pod{UID}/{ID}", ""),
    ],
)
def test_the_path_from_the_root(path: str, expected: str) -> None:
    """The container's folder; unknown where a cgroup namespace hides it."""
    assert parse_cgroup(f"0::{path}\n").path == expected


@pytest.mark.parametrize("text", ["", "\n", "nonsense", "0::", ":::", "0:/kubepods"])
def test_nonsense_is_nowhere(text: str) -> None:
    """Of a process that ends, the kernel gives an empty file."""
    assert parse_cgroup(text) == CgroupPlace()
