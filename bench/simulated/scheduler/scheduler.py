"""Schedules pods and calls the extender as kube-scheduler does: filter, prioritize, assume, bind.

One pod is scheduled at a time; bindings run in threads of their own. It needs nothing but an API server's address.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.simulated.client import ClusterClient, FailureStatusError, UnreachableError
from bench.simulated.informer import Informer
from bench.simulated.scheduler import preempting
from bench.simulated.scheduler.cache import SchedulerCache
from bench.simulated.scheduler.extender_client import ExtenderClient, ExtenderError
from bench.simulated.scheduler.fit_cache import FitCache
from bench.simulated.scheduler.native_fit import (
    NativeMisfit,
    NodeState,
    PodView,
    fit_error,
    least_allocated,
    misfit,
    spread_misfits,
    view_of,
)
from bench.simulated.scheduler.queue import QueueSettings, SchedulingQueue
from bench.simulated.scheduler.reports import SchedulerReports
from bench.simulated.starting import Startable
from extender.contract.names import Names

Body = dict[str, Any]
_LOG = logging.getLogger(__name__)
_NAME = "default-scheduler"
_SERVED = {_NAME, "gpupack-scheduler"}
_NAMES = Names()
_MANAGED = frozenset({_NAMES.memory_resource, _NAMES.gpu_resource, _NAMES.core_resource})
"""Resources that make a pod the extender's business."""

_BINDERS = 64
_LONGEST_WAIT_S = 0.5
# kube-scheduler leaves ended pods out of its view.
_ALIVE = "status.phase!=Succeeded,status.phase!=Failed"
_MOST_COUNTED = 1000
# What the DynamicResources plugin adds to every message since Kubernetes 1.34.
_NO_CLAIMS = "no new claims to deallocate, "


class _UnschedulableError(Exception):
    def __init__(self, reasons: Counter[str], nodes: int, helped: Sequence[NodeState]) -> None:
        super().__init__(fit_error(nodes, reasons))
        self.reasons = reasons
        self.nodes = nodes
        self.helped = helped


class SimulatedScheduler(Startable):
    """One scheduler; use it as a context manager, or call `start` and `stop`.

    Args:
        client: how to reach the API server.
        extender: the extender to call; None schedules by the native rules alone.
        queue: backoff and flush times.
        volumes: waits for the volumes of a pod, by name, on a node, in the thread of its binding; why they can't be
            had, or an empty text. Called for pods that have a claim.
    """

    def __init__(
        self,
        client: ClusterClient,
        extender: ExtenderClient | None = None,
        queue: QueueSettings | None = None,
        volumes: Callable[[str, str], str] = lambda _pod, _node: "",
    ) -> None:
        self._client = client
        self._extender = extender
        self._rng = random.Random(0)
        self._changed = threading.Condition()
        self._queue = SchedulingQueue(queue)
        self._volumes = volumes
        self._view = SchedulerCache()
        self._fits = FitCache(self._view)
        self._pending: dict[str, Body] = {}
        # Known here before the API server's watch shows it: victims may end sooner than that.
        self._nominations: dict[str, str] = {}
        self._reports = SchedulerReports(client, _NAME)
        self._binders = ThreadPoolExecutor(_BINDERS, "binder")
        self._nodes = Informer(client, "/api/v1/nodes", self._node_changed)
        self._pods = Informer(client, "/api/v1/pods", self._pod_changed, field_selector=_ALIVE)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="simulated-scheduler", daemon=True)
        self.calls: Counter[str] = Counter()
        self.filter_calls: Counter[str] = Counter()

    def start(self) -> None:
        """Begin, once nodes and pods are known.

        Raises:
            UnreachableError: the API server gives no lists.
        """
        for informer in (self._nodes, self._pods):
            informer.start()
        for informer in (self._nodes, self._pods):
            if not informer.wait_synced():
                raise UnreachableError("scheduler: no list of nodes and pods within 30 s")
        self._thread.start()

    def stop(self) -> None:
        """Finish what is running and end."""
        self._nodes.stop()
        self._pods.stop()
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(30)
        self._binders.shutdown(wait=True, cancel_futures=True)
        self._reports.close()
        if self._extender is not None:
            self._extender.close()

    def pending(self) -> int:
        """How many pods have no node yet."""
        with self._changed:
            return len(self._queue)

    def _node_changed(self, kind: str, node: Body) -> None:
        with self._changed:
            if kind == "DELETED":
                self._view.remove_node(node["metadata"]["name"])
            elif self._view.set_node(node):
                self._wake_all()

    def _pod_changed(self, kind: str, body: Body) -> None:
        uid = body["metadata"]["uid"]
        with self._changed:
            if body["spec"].get("nodeName"):
                self._queue.remove(uid)
                self._pending.pop(uid, None)
                self._nominations.pop(uid, None)
                if kind == "DELETED":
                    self._view.remove(uid)
                else:
                    self._view.place(view_of(body), body["spec"]["nodeName"])
                self._wake_all()
            elif kind == "DELETED" or body["metadata"].get("deletionTimestamp"):
                self._queue.remove(uid)
                self._pending.pop(uid, None)
                self._nominations.pop(uid, None)
                self._view.forget(uid)
            elif body["spec"].get("schedulerName") in _SERVED and not body["spec"].get("schedulingGates"):
                self._wants_node(uid, body)

    def _wants_node(self, uid: str, body: Body) -> None:
        self._pending[uid] = body
        if self._view.is_assumed(uid):
            return
        if uid in self._queue:
            self._queue.woken(uid, time.monotonic())
        else:
            priority = body["spec"].get("priority") or 0
            self._queue.add(uid, priority=priority, created=body["metadata"]["creationTimestamp"])
        self._changed.notify()

    def _wake_all(self) -> None:
        self._queue.move_all(time.monotonic())
        self._changed.notify()

    def _run(self) -> None:
        while True:
            pod = self._next()
            if pod is None:
                return
            try:
                self._schedule(pod)
            except Exception:  # noqa: BLE001 - one failed pod must not end the scheduler
                _LOG.exception("scheduling %s/%s failed", pod.namespace, pod.name)
                self._failed(pod, "scheduler failure, see its log")

    def _next(self) -> PodView | None:
        with self._changed:
            while not self._stopped:
                now_s = time.monotonic()
                uid = self._queue.pop(now_s)
                if uid is not None:
                    return view_of(self._pending[uid])
                wake_s = self._queue.next_wake_s()
                self._changed.wait(_LONGEST_WAIT_S if wake_s is None else min(_LONGEST_WAIT_S, wake_s - now_s))
            return None

    def _schedule(self, pod: PodView) -> None:
        try:
            feasible = self._feasible(pod)
            node = feasible[0] if len(feasible) == 1 else self._best(pod, feasible)
        except ExtenderError as error:
            self._failed(pod, str(error))
            return
        except _UnschedulableError as error:
            self._unschedulable(pod, error)
            return
        with self._changed:
            if pod.uid not in self._queue:
                return
            self._view.assume(pod, node)
        self._binders.submit(self._bind, pod, node)

    def _feasible(self, pod: PodView) -> list[str]:
        with self._changed:
            nominated = self._nominated_node(pod)
            alone = nominated is not None and misfit(pod, nominated) is None
            table = self._fits.table(pod)
            uneven = spread_misfits(pod, self._view.nodes.values())
            fitting = [name for name in table.fitting if name not in uneven]
            misfits = {**uneven, **table.misfits}
        if nominated is not None and alone:
            try:
                return self._ask_filter(pod, [nominated.name], {})
            except _UnschedulableError:
                _LOG.debug("the nominated node of %s does not fit", pod.name)
        return self._ask_filter(pod, fitting, misfits)

    def _ask_filter(self, pod: PodView, fitting: list[str], misfits: dict[str, NativeMisfit]) -> list[str]:
        nodes = len(fitting) + len(misfits)
        failed: dict[str, str] = {}
        unresolvable: dict[str, str] = {}
        if fitting and self._extender is not None and self._is_managed(pod):
            self.calls["filter"] += 1
            if len(self.filter_calls) < _MOST_COUNTED or pod.uid in self.filter_calls:
                self.filter_calls[pod.uid] += 1
            answer = self._extender.filter(_sent(pod), fitting)
            failed, unresolvable = dict(answer.failed), dict(answer.unresolvable)
            known = set(fitting)
            fitting = [name for name in answer.nodes if name in known]
        if fitting:
            return fitting
        reasons = Counter(reason for why in misfits.values() for reason in why.reasons)
        reasons.update(failed.values())
        reasons.update(unresolvable.values())
        helped = {name for name, why in misfits.items() if why.resolvable} | (failed.keys() - unresolvable.keys())
        with self._changed:
            states = [self._view.nodes[name] for name in sorted(helped) if name in self._view.nodes]
        raise _UnschedulableError(reasons, nodes, states)

    def _is_managed(self, pod: PodView) -> bool:
        spec = pod.body["spec"]
        return any(
            not _MANAGED.isdisjoint((container.get("resources") or {}).get(group) or {})
            for container in [*(spec.get("initContainers") or []), *spec["containers"]]
            for group in ("limits", "requests")
        )

    def _best(self, pod: PodView, feasible: list[str]) -> str:
        with self._changed:
            nodes = [self._view.nodes[name] for name in feasible if name in self._view.nodes]
            scores = {node.name: least_allocated(pod, node) for node in nodes}
        if self._extender is not None and self._is_managed(pod):
            self.calls["prioritize"] += 1
            try:
                for name, score in self._extender.prioritize(_sent(pod), feasible).items():
                    if name in scores:
                        scores[name] += score * 10
            except ExtenderError as error:
                # As in kube-scheduler: a failed prioritize is only logged.
                _LOG.info("prioritize failed: %s", error)
        best = max(scores.values())
        return self._rng.choice([name for name, score in scores.items() if score == best])

    def _bind(self, pod: PodView, node: str) -> None:
        problem = self._pre_bind(pod, node)
        if problem:
            self._unbound(pod, problem)
            return
        try:
            if self._extender is not None and self._is_managed(pod):
                self.calls["bind"] += 1
                self._extender.bind(pod.namespace, pod.name, pod.uid, node)
            else:
                self._client.bind_pod(pod.name, node, pod.namespace, uid=pod.uid)
        except (ExtenderError, FailureStatusError, UnreachableError) as error:
            self.calls["bind errors"] += 1
            self._unbound(pod, str(error))
            return
        self._reports.event(pod, "Normal", "Scheduled", f"Successfully assigned {pod.namespace}/{pod.name} to {node}")

    def _pre_bind(self, pod: PodView, node: str) -> str:
        """Wait for the pod's volumes, and say so on the pod as Kubernetes 1.35 does; why they can't be had."""
        if not any(volume.get("persistentVolumeClaim") for volume in pod.body["spec"].get("volumes") or ()):
            return ""
        self._reports.nominated(pod, node)
        return self._volumes(pod.name, node)

    def _unbound(self, pod: PodView, message: str) -> None:
        with self._changed:
            # If the watch shows it bound (only the answer was lost), there is nothing to undo.
            if self._view.forget(pod.uid):
                self._queue.retry(pod.uid, time.monotonic())
            self._wake_all()
        self._reports.unscheduled(pod, "SchedulerError", message)

    def _failed(self, pod: PodView, message: str) -> None:
        with self._changed:
            self._nominations.pop(pod.uid, None)
            self._queue.retry(pod.uid, time.monotonic())
        # As in kube-scheduler: whatever is not a lack of room ends the nomination.
        self._reports.unscheduled(pod, "SchedulerError", message, nominated="")

    def _unschedulable(self, pod: PodView, error: _UnschedulableError) -> None:
        nominated, addition = self._preempt(pod, error) if error.nodes else (None, "")
        with self._changed:
            if nominated == "":
                self._nominations.pop(pod.uid, None)
            self._queue.sleep(pod.uid, time.monotonic())
        message = fit_error(error.nodes, error.reasons, addition)
        self._reports.unscheduled(pod, "Unschedulable", message, nominated=nominated)

    def _preempt(self, pod: PodView, error: _UnschedulableError) -> tuple[str | None, str]:
        """Preempt others where that helps; the nominated node, and what the condition's text says about it.

        None for the node leaves the nomination as it is, an empty name ends it.
        """
        head = f"{_NO_CLAIMS}preemption: 0/{error.nodes} nodes are available: "
        if not pod.preempts:
            return None, f"{_NO_CLAIMS}preemption: not eligible due to preemptionPolicy=Never."
        with self._changed:
            if self._waits_for_victims(pod, error.helped):
                return None, f"{_NO_CLAIMS}preemption: not eligible due to a terminating pod on the nominated node."
            found = preempting.candidates(pod, error.helped)
        hopeless = error.nodes - len(error.helped)
        texts = [f"{hopeless} Preemption is not helpful for scheduling"] if hopeless else []
        if not found:
            count = len(error.helped)
            texts += [f"{count} No preemption victims found for incoming pod"] if count else []
            return "", f"{head}{', '.join(sorted(texts))}."
        if self._extender is not None and self._is_managed(pod):
            self.calls["preempt"] += 1
            try:
                asked = {name: [victim.uid for victim in victims] for name, victims in found.items()}
                kept = self._extender.preempt(_sent(pod), asked)
            except ExtenderError as failure:
                _LOG.info("preempt failed: %s", failure)
                return None, ""
            found = self._victims_kept(kept)
        if not found:
            return None, f"{_NO_CLAIMS}preemption: no candidate node for preemption"
        node = preempting.choose(found)
        with self._changed:
            self._nominations[pod.uid] = node
        for victim in found[node]:
            self._evict(victim, pod)
        return node, ""

    def _nominated_node(self, pod: PodView) -> NodeState | None:
        name = self._nominations.get(pod.uid) or pod.body.get("status", {}).get("nominatedNodeName") or ""
        return self._view.nodes.get(name)

    def _waits_for_victims(self, pod: PodView, helped: Sequence[NodeState]) -> bool:
        """Whether its victims are leaving its node; not where no eviction would help there any more."""
        node = self._nominated_node(pod)
        if node is None or not any(node is each for each in helped):
            return False
        return any(
            other.priority < pod.priority and other.body["metadata"].get("deletionTimestamp")
            for other in node.pods.values()
        )

    def _victims_kept(self, kept: dict[str, list[str]]) -> dict[str, list[PodView]]:
        with self._changed:
            pods = {name: node.pods for name, node in self._view.nodes.items() if name in kept}
            return {
                name: [pods[name][uid] for uid in uids]
                for name, uids in kept.items()
                if name in pods and uids and all(uid in pods[name] for uid in uids)
            }

    def _evict(self, victim: PodView, pod: PodView) -> None:
        try:
            self._client.delete_pod(victim.name, victim.namespace, uid=victim.uid)
        except (FailureStatusError, UnreachableError) as error:
            _LOG.info("victim %s not deleted: %s", victim.name, error)
            return
        self._reports.event(victim, "Normal", "Preempted", f"Preempted by pod {pod.uid}")


def _sent(pod: PodView) -> Body:
    """The pod as kube-scheduler sends it: without kind, apiVersion and managedFields."""
    metadata = {key: value for key, value in pod.body["metadata"].items() if key != "managedFields"}
    return {"metadata": metadata, "spec": pod.body["spec"], "status": pod.body.get("status", {})}
