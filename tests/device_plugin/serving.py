"""The kubelet's side of a plugin, put together by hand: no API server, and no thread but the lifecycle's."""

import threading
from pathlib import Path

from device_plugin.gpus.gpu import GpuSample
from device_plugin.kubelet.admissions import Admissions
from device_plugin.kubelet.lifecycle import Lifecycle
from device_plugin.kubelet.podresources import PodResources
from device_plugin.kubelet.reconciling import Reconciler
from device_plugin.kubelet.servicer import DevicePluginServicer
from device_plugin.metrics import PluginMetrics
from device_plugin.pods.store import PodStore
from device_plugin.sampling.feed import GpuFeed
from device_plugin.settings import DeviceListStrategy, NumaHints, Resource, Settings
from tests.device_plugin.builders import gpus
from tests.fakes.kubelet_patches import FakePatching

MEMORY, WHOLE = "gpupack.io/gpu-mem", "gpupack.io/gpu"


class FixedSource:
    """GPUs that the test sets."""

    def __init__(self, *samples: GpuSample) -> None:
        self.samples = samples

    def sample(self) -> tuple[GpuSample, ...]:
        return self.samples

    def close(self) -> None:
        """Nothing is held."""


class Plugin:
    """The kubelet's side of a plugin: no API server, no threads but the lifecycle's."""

    def __init__(self, folder: Path, numa_hints: NumaHints = NumaHints.NONE, /, **units: int) -> None:
        self.settings = Settings(node_name="n1", kubelet_dir=folder, podresources_socket=folder / "pr.sock")
        names, unit_mib = self.settings.names, self.settings.memory_unit_mib
        self.source = FixedSource(*gpus(**units).samples)
        self.feed = GpuFeed(self.source, unit_mib, 60.0)
        self.feed.step()
        self.pods = PodStore(names, unit_mib)
        self.podresources = PodResources(self.settings.podresources_socket, {r.name_in(names): r for r in Resource})
        self.due = threading.Event()
        self.api = FakePatching()
        admissions = Admissions(
            pods=self.pods,
            podresources=self.podresources,
            read_pods=lambda _: False,
            strategy=DeviceListStrategy.ENVVAR,
            on_granted=self.due.set,
            numa_hints=numa_hints,
            device_nodes=lambda uuids, _: tuple(f"/dev/{uuid}" for uuid in uuids),
        )
        self.reconciler = Reconciler(
            admissions=admissions,
            pods=self.pods,
            api=self.api,
            gpus=lambda: self.feed.gpus,
            names=names,
            unit_mib=unit_mib,
            interval_s=60.0,
            due=self.due,
        )
        self.metrics = PluginMetrics(names)
        servicers = [
            DevicePluginServicer(
                resource=resource,
                names=names,
                feed=self.feed,
                admissions=admissions,
                reconciler=self.reconciler,
                metrics=self.metrics,
            )
            for resource in Resource
        ]
        self.registered = threading.Semaphore(0)
        self.lifecycle = Lifecycle(self.settings, servicers, self.metrics, self.registered.release)
        self.stop_event = threading.Event()
        self.thread = threading.Thread(target=self.lifecycle.run, args=(self.stop_event,))

    def start(self) -> "Plugin":
        """Serve and register."""
        self.thread.start()
        return self

    def stop(self) -> None:
        """End as SIGTERM does."""
        self.stop_event.set()
        if self.thread.ident is not None:
            self.thread.join(10.0)
            assert not self.thread.is_alive()
        self.podresources.close()
