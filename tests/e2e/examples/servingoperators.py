"""Makes the workload that an operator makes of a Knative Service, an InferenceService or a Notebook. Pure.

Sources: knative.dev/serving v0.51 (pkg/reconciler/revision/resources), github.com/kserve/kserve v0.15 and Kubeflow's
notebook-controller. Left out is what scheduling does not look at: volumes, probes, most of the environment.
"""

from typing import Any

Body = dict[str, Any]
_REVISION = "00001"


def owner_of(resource: Body) -> list[Body]:
    """The owner reference that makes an object go when its custom resource goes."""
    reference = {key: resource[key] for key in ("apiVersion", "kind")}
    metadata = {key: resource["metadata"][key] for key in ("name", "uid")}
    return [{**reference, **metadata, "controller": True, "blockOwnerDeletion": True}]


def knative_deployment(service: Body, replicas: int) -> Body:
    """The Deployment of a Knative Service's first revision, at the scale that its autoscaler has chosen."""
    name = service["metadata"]["name"]
    revision = f"{name}-{_REVISION}"
    template = service["spec"]["template"]
    metadata = template.get("metadata") or {}
    selected = {"serving.knative.dev/revisionUID": service["metadata"]["uid"]}
    labels = {
        **(metadata.get("labels") or {}),
        "app": revision,
        "serving.knative.dev/configuration": name,
        "serving.knative.dev/revision": revision,
        "serving.knative.dev/service": name,
        **selected,
    }
    taken_over = {key: value for key, value in template["spec"].items() if key not in _KNATIVE_ONLY}
    spec = {**taken_over, "containers": [*template["spec"]["containers"], _QUEUE_PROXY], "enableServiceLinks": False}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{revision}-deployment", "labels": labels, "ownerReferences": owner_of(service)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selected},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels, "annotations": dict(metadata.get("annotations") or {})},
                "spec": spec,
            },
        },
    }


_KNATIVE_ONLY = ("containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds", "idleTimeoutSeconds")
_QUEUE_PROXY: Body = {
    "name": "queue-proxy",
    "image": "gcr.io/knative-releases/knative.dev/serving/cmd/queue",
    "ports": [{"name": "queue-port", "containerPort": 8012}],
    "resources": {"requests": {"cpu": "25m"}},
}


def kserve_deployment(service: Body, replicas: int) -> Body:
    """The Deployment that stands behind an InferenceService's predictor in the serverless mode."""
    predictor = service["spec"]["predictor"]
    model = predictor["model"]
    name = service["metadata"]["name"]
    labels = {"serving.kserve.io/inferenceservice": name, "component": "predictor"}
    pod = {key: value for key, value in predictor.items() if key not in _KSERVE_ONLY}
    container = {
        "name": "kserve-container",
        "image": f"pytorch/torchserve-kfs:{model['runtimeVersion']}",
        "args": ["torchserve", "--start", "--model-store=/mnt/models/model-store"],
        "resources": model["resources"],
    }
    fetching = {
        "name": "storage-initializer",
        "image": "kserve/storage-initializer:v0.15.2",
        "args": [model["storageUri"], "/mnt/models"],
        "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    }
    knative = {
        **service,
        "metadata": {**service["metadata"], "name": f"{name}-predictor"},
        "spec": {
            "template": {
                "metadata": {"labels": labels},
                "spec": {**pod, "containers": [container], "initContainers": [fetching]},
            }
        },
    }
    deployment = knative_deployment(knative, replicas)
    deployment["metadata"]["ownerReferences"] = owner_of(service)
    return deployment


_KSERVE_ONLY = ("model", "minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "containerConcurrency", "timeout")


def notebook_statefulset(notebook: Body) -> Body:
    """The StatefulSet of one pod that Kubeflow's notebook controller makes."""
    metadata = notebook["metadata"]
    name = metadata["name"]
    stopped = "kubeflow-resource-stopped" in (metadata.get("annotations") or {})
    template = notebook["spec"]["template"]["spec"]
    first, *others = template["containers"]
    prefix = {"name": "NB_PREFIX", "value": f"/notebook/{metadata['namespace']}/{name}"}
    container = {
        "workingDir": "/home/jovyan",
        "ports": [{"name": "notebook-port", "containerPort": 8888, "protocol": "TCP"}],
        **first,
        "env": [*first.get("env", []), prefix],
    }
    labels = {**(metadata.get("labels") or {}), "statefulset": name, "notebook-name": name}
    spec = {"securityContext": {"fsGroup": 100}, **template, "containers": [container, *others]}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "ownerReferences": owner_of(notebook)},
        "spec": {
            "replicas": 0 if stopped else 1,
            "serviceName": name,
            "selector": {"matchLabels": {"statefulset": name}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
