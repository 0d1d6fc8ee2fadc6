"""The variables that containers get are those that docs/pod-spec.md and docs/enforcement.md name, and no others."""

import re
from dataclasses import replace
from itertools import product
from pathlib import PurePath

from device_plugin.gpus.gpu import Gpus
from device_plugin.gpus.standing import Standing
from device_plugin.kubelet.deciding.allocating import Given, allocate
from device_plugin.kubelet.deciding.matching import Occupied
from device_plugin.settings import LADDER, MpsAccess, Resource
from tests.device_plugin.builders import UNIT_MIB, all_ids, sample
from tests.docs.pages import REPOSITORY

MPS = MpsAccess(PurePath("/run/mps/pipe"), PurePath("/run/mps/shm"))


def documented(page: str, heading: str) -> set[str]:
    """Names of variables in the tables and text under a heading."""
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return {name.partition("=")[0] for name in re.findall(r"`([A-Z][A-Z_]{5,}(?:=\w+)?)`", section)}


def given() -> set[str]:
    """Names of the variables for all resources and rungs."""
    names: set[str] = set()
    for resource, rung in product(Resource, LADDER):
        node = Gpus(UNIT_MIB, (replace(sample(), standing=Standing((rung,))),))
        answer = allocate(resource, all_ids(node, resource), node, occupied=Occupied(), spreads=(), mps=MPS)
        assert isinstance(answer, Given)
        names |= set(answer.envs)
    return names


def test_what_a_container_gets_is_documented() -> None:
    """Authors of pods find the names that programs read; admins also those of the driver and of MPS."""
    for_pods = documented("pod-spec.md", "What the container sees")
    for_admins = documented("enforcement.md", "What a container gets") | documented("enforcement.md", "Compute")
    assert for_pods | for_admins == given()
    assert {name for name in given() if name.startswith("GPUPACK_")} <= for_pods
