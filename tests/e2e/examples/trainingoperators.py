"""Makes the pods or Jobs that an operator makes of a PyTorchJob, TFJob, Katib Experiment or Volcano Job. Pure.

Sources: github.com/kubeflow/training-operator v1.8 (pkg/controller.v1/common, pytorch, tensorflow), Katib's trial
template and Volcano's job controller (pkg/controllers/job/job_controller_util.go).
"""

import json
from collections.abc import Mapping
from typing import Any

from tests.e2e.examples.servingoperators import owner_of

Body = dict[str, Any]
_PYTORCH_PORT, _TENSORFLOW_PORT = "23456", "2222"


def pytorchjob_pods(job: Body) -> list[Body]:
    """The master and the workers, with the environment of torch.distributed."""
    replicas = job["spec"]["pytorchReplicaSpecs"]
    master = f"{job['metadata']['name']}-master-0"
    size = str(sum(replica["replicas"] for replica in replicas.values()))
    pods = []
    for kind, replica in replicas.items():
        for index in range(replica["replicas"]):
            rank = str(index if kind == "Master" else index + 1)
            environment = {
                "PYTHONUNBUFFERED": "1",
                "MASTER_PORT": _PYTORCH_PORT,
                "PET_MASTER_PORT": _PYTORCH_PORT,
                "MASTER_ADDR": master,
                "PET_MASTER_ADDR": master,
                "WORLD_SIZE": size,
                "RANK": rank,
                "PET_NODE_RANK": rank,
                "PET_NPROC_PER_NODE": job["spec"].get("nprocPerNode", "auto"),
                "PET_NNODES": size,
            }
            pod = _replica(
                job,
                operator="pytorchjob-controller",
                kind=kind,
                index=index,
                replica=replica,
                environment=environment,
            )
            if kind == "Worker":
                pod["spec"]["initContainers"] = [_waits_for(master)]
            pods.append(pod)
    return pods


def _waits_for(master: str) -> Body:
    quantities = {"limits": {"cpu": "100m", "memory": "20Mi"}, "requests": {"cpu": "50m", "memory": "10Mi"}}
    command = ["sh", "-c", f"until nslookup {master}; do sleep 2; done"]
    return {"name": "init-pytorch", "image": "alpine:3.10", "command": command, "resources": quantities}


def tfjob_pods(job: Body) -> list[Body]:
    """All replicas, each with the TF_CONFIG that names the others and itself."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    replicas = job["spec"]["tfReplicaSpecs"]
    cluster = {
        kind.lower(): [
            f"{name}-{kind.lower()}-{index}.{namespace}.svc:{_TENSORFLOW_PORT}" for index in range(replica["replicas"])
        ]
        for kind, replica in replicas.items()
    }
    pods = []
    for kind, replica in replicas.items():
        for index in range(replica["replicas"]):
            task = {"type": kind.lower(), "index": index}
            config = json.dumps({"cluster": cluster, "task": task, "environment": "cloud"}, separators=(",", ":"))
            environment = {"TF_CONFIG": config}
            pods.append(
                _replica(
                    job, operator="tfjob-controller", kind=kind, index=index, replica=replica, environment=environment
                )
            )
    return pods


def _replica(job: Body, *, operator: str, kind: str, index: int, replica: Body, environment: Mapping[str, str]) -> Body:
    template = replica["template"]
    metadata = template.get("metadata") or {}
    labels = {
        **(metadata.get("labels") or {}),
        "training.kubeflow.org/operator-name": operator,
        "training.kubeflow.org/job-name": job["metadata"]["name"],
        "training.kubeflow.org/replica-type": kind.lower(),
        "training.kubeflow.org/replica-index": str(index),
    }
    if kind in ("Master", "Chief"):
        labels["training.kubeflow.org/job-role"] = "master"
    added = [{"name": name, "value": value} for name, value in environment.items()]
    containers = [{**entry, "env": [*entry.get("env", []), *added]} for entry in template["spec"]["containers"]]
    return {
        "metadata": {
            "name": f"{job['metadata']['name']}-{kind.lower()}-{index}",
            "labels": labels,
            "annotations": dict(metadata.get("annotations") or {}),
            "ownerReferences": owner_of(job),
        },
        "spec": {**template["spec"], "containers": containers, "restartPolicy": replica["restartPolicy"]},
    }


def katib_trials(experiment: Body, values: list[str]) -> list[Body]:
    """One Job for each value that the search has chosen for the experiment's one parameter."""
    spec = experiment["spec"]
    ((parameter,), template) = (spec["trialTemplate"]["trialParameters"], spec["trialTemplate"])
    jobs = []
    for number, value in enumerate(values):
        placeholder = "${trialParameters." + parameter["name"] + "}"
        job: Body = json.loads(json.dumps(template["trialSpec"]).replace(placeholder, value))
        name = f"{experiment['metadata']['name']}-{number:08x}"
        labels = {"katib.kubeflow.org/experiment": experiment["metadata"]["name"], "katib.kubeflow.org/trial": name}
        pod = job["spec"]["template"]
        pod.setdefault("metadata", {})["labels"] = labels
        pod["spec"]["containers"].append(
            {
                "name": "metrics-logger-and-collector",
                "image": "ghcr.io/kubeflow/katib/file-metrics-collector:v0.18.0",
                "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "500m", "memory": "100Mi"}},
            }
        )
        job["metadata"] = {"name": name, "labels": labels, "ownerReferences": owner_of(experiment)}
        jobs.append(job)
    return jobs


def volcano_pods(job: Body) -> list[Body]:
    """The pods of every task, for Volcano's own scheduler."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    pods = []
    for task in job["spec"]["tasks"]:
        for index in range(task["replicas"]):
            template = task["template"]
            metadata = template.get("metadata") or {}
            own = {
                "volcano.sh/job-name": name,
                "volcano.sh/job-namespace": namespace,
                "volcano.sh/queue-name": job["spec"]["queue"],
                "volcano.sh/task-spec": task["name"],
            }
            annotations = {
                **(metadata.get("annotations") or {}),
                **own,
                "scheduling.k8s.io/group-name": f"{name}-{job['metadata']['uid']}",
                "volcano.sh/job-version": "0",
                "volcano.sh/template-uid": f"{name}-{task['name']}",
                "volcano.sh/task-index": str(index),
            }
            pods.append(
                {
                    "metadata": {
                        "name": f"{name}-{task['name']}-{index}",
                        "labels": {**(metadata.get("labels") or {}), **own},
                        "annotations": annotations,
                        "ownerReferences": owner_of(job),
                    },
                    "spec": {"schedulerName": job["spec"]["schedulerName"], **template["spec"]},
                }
            )
    return pods
