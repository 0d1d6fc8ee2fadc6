"""`kubectl gpupack simulate`: from a manifest to whether its pods would fit, where, and what stands in the way."""

import sys
from pathlib import Path

import click

from extender.capacity.cluster import Cluster
from extender.capacity.packing import Packing
from extender.capacity.simulating import simulate
from extender.kubectl.answer import Answer
from extender.kubectl.failures import BadUsage
from extender.kubectl.manifests import Manifest, manifest_of
from extender.kubectl.memory_text import counted
from extender.kubectl.options import Options, common_options
from extender.kubectl.planning import cluster_of
from extender.kubectl.pod_templates import ManifestError
from extender.kubectl.policy_choice import policy_in_force, policy_option
from extender.kubectl.running import run
from extender.kubectl.session import Session
from extender.kubectl.simulation_answer import simulation_answer
from extender.kubectl.view import ClusterView
from extender.scheduling.events import PodRecord


@click.command()
@common_options
@click.option(
    "-f",
    "--filename",
    "file",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Pods, or whatever has pod templates, YAML or JSON; - for standard input.",
)
@click.option("--copies", type=click.IntRange(1, 100_000), default=1, show_default=True, help="So often all of it.")
@click.option("--after-waiting", is_flag=True, help="Place the pods first that wait for GPUs already.")
@policy_option
def command(options: Options, *, file: str, copies: int, after_waiting: bool, policy: str | None) -> None:
    """Say whether pods would fit, where, and how many copies at most.

    Pods are placed one by one on a copy of the ledger by the shipped policy, as the extender would. Nothing is
    created. Exit code 1 when not everything fits.
    """
    text = _text(file)

    def question(session: Session) -> Answer:
        view = session.view()
        try:
            manifest = manifest_of(text, names=view.names, unit_mib=view.unit_mib)
        except ManifestError as error:
            raise BadUsage(f"{file}: {error}") from error
        return simulated(view, manifest, copies, policy=policy, after_waiting=after_waiting)

    run(options, question)


def simulated(
    view: ClusterView, manifest: Manifest, copies: int, *, policy: str | None = None, after_waiting: bool = False
) -> Answer:
    """What would become of so many copies of a manifest."""
    name, told_by = policy_in_force(view, policy)
    cluster = cluster_of(view)
    packing = cluster.packing(name)
    waiting = _place_waiting(packing, cluster) if after_waiting else _waiting_note(cluster)
    notes = (*manifest.notes, *waiting, *view.warnings)
    result = simulate(packing, manifest.wanted, copies)
    return simulation_answer(result, packing, view, policy=name, policy_from=told_by, notes=notes)


def _text(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"--filename {file}: {error}") from error


def _waiting(cluster: Cluster) -> list[PodRecord]:
    return [pod for pod in cluster.pods if not pod.node and not pod.ended and pod.request is not None]


def _waiting_note(cluster: Cluster) -> list[str]:
    waiting = _waiting(cluster)
    who = counted(len(waiting), "pod waits", "pods wait")
    return [f"{who} for GPUs and may come first: --after-waiting"] if waiting else []


def _place_waiting(packing: Packing, cluster: Cluster) -> list[str]:
    """The pods that wait take their places, as kube-scheduler's queue has them: by priority, then by age."""
    waiting = sorted(_waiting(cluster), key=lambda pod: (-pod.priority, pod.resource_version, pod.uid))
    placed = sum(
        packing.place(pod.uid, pod.request, cluster.traits_of(pod).constraints) is not None
        for pod in waiting
        if pod.request is not None and pod.request.demands
    )
    who = counted(len(waiting), "pod that waits", "pods that wait")
    return [f"{placed} of {who} for GPUs placed first"] if waiting else []
