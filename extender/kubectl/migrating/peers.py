"""Lists the names by which pods ask other programs for GPUs, and what each program documents that they mean.

Sources:
- gpushare: github.com/AliyunContainerService/gpushare-scheduler-extender, docs/userguide.md (`aliyun.com/gpu-mem`, in
  GiB unless its device plugin is configured otherwise); Alibaba Cloud, "Multi-GPU sharing" (by the pod's label
  `aliyun.com/gpu-count` its memory comes evenly from so many GPUs of one node).
- HAMi: github.com/Project-HAMi/HAMi, README.md and docs/config.md (`nvidia.com/gpumem` is MiB of each of the
  `nvidia.com/gpu` vGPUs, `nvidia.com/gpumem-percentage` percent of each, `nvidia.com/gpucores` percent of each one's
  compute, and with 100 no other pod gets the GPU; without `nvidia.com/gpu` it is one vGPU).
- NVIDIA: github.com/NVIDIA/k8s-device-plugin, README.md, "Shared Access to GPUs" (`nvidia.com/gpu.shared` with
  `renameByDefault`, otherwise `nvidia.com/gpu`, is one of the replicas of a GPU).
- KAI: github.com/kai-scheduler/KAI-Scheduler, docs/gpu-sharing/README.md and pkg/common/constants (`gpu-memory` is MiB,
  `gpu-fraction` a share, both of each of `gpu-fraction-num-devices` GPUs, for the first container unless
  `gpu-fraction-container-name` names another).
"""

GPUSHARE_MEMORY = "aliyun.com/gpu-mem"
GPUSHARE_COUNT = "aliyun.com/gpu-count"
GPUSHARE_CORE = "aliyun.com/gpu-core.percentage"

NVIDIA_GPU = "nvidia.com/gpu"
NVIDIA_SHARED = "nvidia.com/gpu.shared"
MIG_PREFIX = "nvidia.com/mig-"

HAMI_MEMORY = "nvidia.com/gpumem"
HAMI_PERCENTAGE = "nvidia.com/gpumem-percentage"
HAMI_CORE = "nvidia.com/gpucores"
HAMI_USE_TYPE = "nvidia.com/use-gputype"
HAMI_NO_TYPE = "nvidia.com/nouse-gputype"

KAI_FRACTION = "gpu-fraction"
KAI_MEMORY = "gpu-memory"
KAI_DEVICES = "gpu-fraction-num-devices"
KAI_CONTAINER = "gpu-fraction-container-name"
KAI_QUEUES = ("kai.scheduler/queue", "runai/queue")
KAI_SCHEDULERS = ("kai-scheduler", "runai-scheduler")

SCHEDULERS = (*KAI_SCHEDULERS, "hami-scheduler")
"""Schedulers that know only the names above; a pod that asks gpupack must not go to them."""

RESOURCES_WITHOUT_COUNTERPART = {
    "nvidia.com/priority": "a priority among the containers of one GPU",
}
ANNOTATIONS_WITHOUT_COUNTERPART = {
    "nvidia.com/use-gpuuuid": "certain GPUs by UUID",
    "nvidia.com/nouse-gpuuuid": "no GPU of these UUIDs",
    "nvidia.com/numa-bind": "GPUs of one NUMA node",
    "nvidia.com/vgpu-mode": "how HAMi holds the container to its share",
    "hami.io/node-scheduler-policy": "a packing policy, which in gpupack.io/policy has other names and meanings",
    "hami.io/gpu-scheduler-policy": "a packing policy, which in gpupack.io/policy has other names and meanings",
}
KAI_ANNOTATIONS_WITHOUT_COUNTERPART = {
    "gpu-fraction.limit": "a limit above the request",
    "gpu-memory.limit": "a limit above the request",
    "gpu-sm-percentage": "a share of compute",
    "gpu-sm-cores": "a share of compute",
    "mps": "MPS for this pod; in gpupack it belongs to the node",
}
REFUSED_ENVIRONMENT = ("NVIDIA_VISIBLE_DEVICES", "CUDA_MPS_", "NVIDIA_GPU_MEMORY_", "GPUPACK_")
"""Beginnings of variables that say what a container gets; gpupack's admission policy refuses pods that set them."""

NO_DEVICES = ("", "none", "void")
"""Values of NVIDIA_VISIBLE_DEVICES that ask for no GPU; they are not refused."""

ENVIRONMENT = ("ALIYUN_COM_GPU_MEM", "CUDA_DEVICE_MEMORY_LIMIT", "CUDA_DEVICE_SM_LIMIT")
"""Beginnings of variables that these programs set and that a program in a container may read."""

RESOURCES = (
    GPUSHARE_MEMORY,
    GPUSHARE_COUNT,
    GPUSHARE_CORE,
    NVIDIA_GPU,
    NVIDIA_SHARED,
    HAMI_MEMORY,
    HAMI_PERCENTAGE,
    HAMI_CORE,
    *RESOURCES_WITHOUT_COUNTERPART,
)


def is_resource(name: str) -> bool:
    """Whether `name` is a resource of one of these programs."""
    return name in RESOURCES or name.startswith(MIG_PREFIX)
