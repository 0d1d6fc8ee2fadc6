"""Defines the kinds that the examples' operators bring along, without a schema: no operator is installed here."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CustomKind:
    """One kind of one group and version."""

    group: str
    version: str
    kind: str
    plural: str

    def path(self, name: str, namespace: str = "default") -> str:
        """Where an object of the kind is in the API."""
        return f"/apis/{self.group}/{self.version}/namespaces/{namespace}/{self.plural}/{name}"

    def definition(self) -> dict[str, Any]:
        """A CustomResourceDefinition that takes any content."""
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        version = {"name": self.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
        names = {"kind": self.kind, "plural": self.plural, "singular": self.kind.lower()}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{self.plural}.{self.group}"},
            "spec": {"group": self.group, "scope": "Namespaced", "names": names, "versions": [version]},
        }


KNATIVE_SERVICE = CustomKind("serving.knative.dev", "v1", "Service", "services")
INFERENCE_SERVICE = CustomKind("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices")
NOTEBOOK = CustomKind("kubeflow.org", "v1", "Notebook", "notebooks")
PYTORCH_JOB = CustomKind("kubeflow.org", "v1", "PyTorchJob", "pytorchjobs")
TF_JOB = CustomKind("kubeflow.org", "v1", "TFJob", "tfjobs")
EXPERIMENT = CustomKind("kubeflow.org", "v1beta1", "Experiment", "experiments")
VOLCANO_JOB = CustomKind("batch.volcano.sh", "v1alpha1", "Job", "jobs")
CUSTOM_KINDS = (KNATIVE_SERVICE, INFERENCE_SERVICE, NOTEBOOK, PYTORCH_JOB, TF_JOB, EXPERIMENT, VOLCANO_JOB)
