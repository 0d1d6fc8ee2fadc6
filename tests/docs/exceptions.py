"""Lists the commands of the documentation that the tests do not run as written, each with the reason.

A test fails when one of them is no longer in the documentation, so that the list does not become stale.
"""

from collections.abc import Mapping

ELSEWHERE: Mapping[str, str] = {
    "docs/examples.md": "tests/e2e/examples/test_documented.py",
    "docs/capacity.md": "tests/e2e/scenarios/test_capacity.py",
    "docs/helm.md": "tests/e2e/test_helm.py",
    "docs/control-plane.md": "tests/e2e/test_beside.py",
    "docs/kubectl.md": "tests/e2e/test_kubectl_gpupack.py",
}
"""Pages whose commands are all run by another test module."""

_WHOLE_SUITE = "it runs these tests itself"
_MINUTES = "minutes of benchmark; make bench-quick and tests/bench/node run it on less"
_NO_RUNTIME = "no container runtime and no registry; tests/manifests/test_images.py runs the Dockerfile's commands"
_KUBELET = "logs, exec and port-forward go through a real kubelet and a container; the processes are tested directly"

_BUILD = "docker build -f manifests/images/Dockerfile"
_AUDIT = (
    "kubectl -n gpupack-system logs deploy/gpupack-scheduler -c extender | jq -c "
    "'select(.decision.verdict == \"bound\") | .decision | [.at, .namespace, .pod, .node, .gpus]'"
)
_NODE_POD = (
    "POD=$(kubectl -n gpupack-system get pods -l app.kubernetes.io/component=device-plugin "
    "--field-selector spec.nodeName=NODE -o name)"
)
_NODE_DOCTOR = (
    "kubectl -n gpupack-system debug node/NODE -it --profile=sysadmin --custom=root.json "
    "--env=NVIDIA_VISIBLE_DEVICES=all --image=REGISTRY/gpupack-device-plugin:0.1.0 -- python -m device_plugin doctor "
    "--host-root /host --no-rights --kubelet-dir /host/var/lib/kubelet/device-plugins "
    "--podresources-socket /host/var/lib/kubelet/pod-resources/kubelet.sock"
)

NOT_RUN: Mapping[str, str] = {
    f"{_BUILD} --target extender -t REGISTRY/gpupack-extender:0.1.0 .": _NO_RUNTIME,
    f"{_BUILD} --target device-plugin -t REGISTRY/gpupack-device-plugin:0.1.0 .": _NO_RUNTIME,
    "docker push REGISTRY/gpupack-extender:0.1.0": _NO_RUNTIME,
    "docker push REGISTRY/gpupack-device-plugin:0.1.0": _NO_RUNTIME,
    "make test": _WHOLE_SUITE,
    "make chaos": "an hour; .ci/run runs the short part of it",
    "make e2e": _WHOLE_SUITE,
    "make lint": _WHOLE_SUITE,
    "make venv": "it created the environment of these tests",
    "make chart": "tests/manifests/test_chart.py checks that it would change nothing",
    "make locks": "it asks the package registry; tests/manifests/test_images.py compares the result",
    "make kubernetes": "it built the programs of the end-to-end tests",
    ".ci/run": _WHOLE_SUITE,
    "python -m bench latency --nodes 5000": _MINUTES,
    "python -m bench latency --nodes 5000 --case start --pods-per-node 10 --pod-bytes 8000": _MINUTES,
    "python -m bench latency --nodes 5000 --case shapes --case learning --case events --case binds": _MINUTES,
    "python -m bench latency --case growth --plot growth.svg": _MINUTES,
    "python -m bench latency --nodes 20 --case churn --lives 1000000": _MINUTES,
    "python -m bench scheduler --nodes 1000,5000": "minutes of benchmark; tests/bench/scheduler runs it on less",
    "python -m bench gpu-day --json gpu-day.json": "no GPU here; tests/bench/gpu_day runs every stage on stand-ins",
    "python -m bench node --seconds 300 --json bench/results/node-8-gpus.json": _MINUTES,
    _NODE_POD: _KUBELET,
    'kubectl -n gpupack-system exec "$POD" -- python -m device_plugin doctor': _KUBELET,
    'echo \'{"securityContext": {"runAsUser": 0}}\' > root.json': "it writes a file for the command after it",
    _NODE_DOCTOR: _KUBELET,
    "kubectl get -v=6 --raw /api/v1/namespaces/gpupack-system/pods/POD:9400/proxy/readyz": _KUBELET,
    "kubectl -n gpupack-system port-forward deploy/gpupack-scheduler 39999 &": _KUBELET,
    _AUDIT: _KUBELET,
    "curl --silent --retry 5 --retry-connrefused http://127.0.0.1:39999/v1/nodes": _KUBELET,
}
