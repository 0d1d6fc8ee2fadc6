"""Builds manifests for other programs' schedulers, as text, for the tests of their migration."""

from typing import Any

import yaml

HAMI = """\
apiVersion: v1
kind: Pod
metadata:
  name: trainer # HAMi's
  annotations:
    # not on old cards
    nvidia.com/use-gputype: "A100,V100"
spec:
  schedulerName: hami-scheduler
  containers:
    - name: main
      image: registry.example/trainer
      resources:
        limits:
          cpu: "2"
          nvidia.com/gpu: 2 # vGPUs
          nvidia.com/gpumem: 3000
"""
GPUSHARE = """\
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: binpack
  namespace: team
spec:
  replicas: 3
  serviceName: binpack
  selector:
    matchLabels: {app: binpack}
  template:
    metadata:
      labels: {app: binpack}
    spec:
      containers:
      - name: main
        image: registry.example/player
        resources:
          limits:
            # GiB
            aliyun.com/gpu-mem: 3   # a third of the card
"""
KAI = """\
apiVersion: v1
kind: Pod
metadata:
  name: notebook
  labels:
    kai.scheduler/queue: research
  annotations:
    # in MiB
    gpu-memory: "2000"
spec:
  schedulerName: kai-scheduler
  containers:
    - name: main
      image: registry.example/notebook
      args: [sleep, infinity]
"""
UNTOUCHED = """\
# Nothing to do with GPUs;   odd   spaces stay
apiVersion: v1
kind: ConfigMap
metadata: {  name:   settings }
data:
  text: |
    aliyun.com/gpu-mem: 3
"""


def pod(limits: dict[str, Any], **metadata: Any) -> str:
    """A pod with one container that has these limits."""
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", **metadata},
        "spec": {"containers": [{"name": "main", "image": "registry.example/one", "resources": {"limits": limits}}]},
    }
    return yaml.safe_dump(document, sort_keys=False)


def stream(*documents: str) -> str:
    """Several documents in one text."""
    return "---\n".join(documents)
