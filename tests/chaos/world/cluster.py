"""The cluster that is disturbed: simulated, the real extender behind a proxy, and watchers that go past the proxy."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.simulated.apiserver.server import ApiServer
from bench.simulated.client import ClusterClient
from bench.simulated.node import NAMES, SimulatedNode
from bench.simulated.processes import ModuleProcess, free_port
from bench.simulated.specs import GpuSpec, MachineSpec
from bench.simulated.starting import Startable
from tests.chaos.proxy.server import ChaosProxy
from tests.chaos.world.control import Control, SimulatedControl
from tests.chaos.world.following import Follower, PodStory
from tests.chaos.world.light_kubelet import LightKubelet
from tests.chaos.world.load import IMPORTANT
from tests.checker import Checker, Violation
from tests.fakes.certificate import Authority, server_context

GPU_UNITS = 16
_MACHINE_GPUS = (GpuSpec("Tesla T4", GPU_UNITS * 1024, 2),)


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """What the cluster consists of.

    Args:
        nodes: how many, of two GPUs each.
        light: nodes are objects only and their kubelet admits everything, so that plans alone are judged; otherwise
            each has the real device plugin.
        secured: the extender has to speak TLS and has a token.
        extender_arguments: further options of the extender.
    """

    nodes: int = 3
    light: bool = False
    secured: bool = False
    extender_arguments: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """Memory units of all GPUs."""
        return self.nodes * GPU_UNITS * sum(gpu.count for gpu in _MACHINE_GPUS)


@dataclass(slots=True)
class Watchers:
    """What is seen of the API server directly; replaced as a whole when its past has changed."""

    checker: Checker
    follower: Follower


class ChaosCluster(Startable):
    """A running cluster; a context manager, everything in it is in the attributes.

    Args:
        shape: what it consists of.
        seed: of what the proxy does by chance.
        control: its control plane; a simulated one if none is given.
    """

    def __init__(self, shape: ClusterShape, seed: int, control: Control | None = None) -> None:
        self.shape = shape
        self._control: Control = control or SimulatedControl()
        self.folder = Path(tempfile.mkdtemp(prefix="gpupack-chaos-"))
        self.log = self.folder / "extender.log"
        self.nodes: dict[str, SimulatedNode] = {}
        self._seed = seed
        self._stack = ExitStack()
        self._earlier: list[Violation] = []
        self._kubelet: LightKubelet | None = None
        self.undone: set[str] = set()
        """UIDs of pods that are gone because the past has changed."""

    def start(self) -> None:
        """Start everything; the nodes offer their GPUs when this returns."""
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.callback(self._control.stop)
            self._control.start(self.folder)
            self.client = ClusterClient.from_kubeconfig(self._control.admin)
            stack.callback(self.client.close)
            self._create_priority_class()
            stack.callback(self._stop_nodes)
            self._add_nodes(stack)
            self.proxy = stack.enter_context(ChaosProxy(self._control.upstream, self._seed))
            self.kubeconfig = self._secured() if self.shape.secured else self._open()
            self._port = free_port()
            self.extender = self._made(self._port, self.kubeconfig)
            stack.callback(self._stop_extender)
            self.extender.start()
            self.scheduler = self.new_scheduler(self.extender)
            # A disturbance may have put another one in its place.
            stack.callback(self.stop_scheduler)
            for node in self.nodes.values():
                node.wait_ready()
            self.watchers = self._new_watchers(None)
            stack.callback(self._stop_watchers)
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop everything."""
        self._stack.close()

    @property
    def api(self) -> ApiServer:
        """The API server, where it is simulated.

        Raises:
            TypeError: it is real.
        """
        if not isinstance(self._control, SimulatedControl):
            raise TypeError("this fault needs a simulated API server")
        return self._control.api

    def new_scheduler(self, extender: ModuleProcess) -> Startable:
        """Start one more scheduler, which calls this extender."""
        return self._control.start_scheduler(extender.url)

    def new_extender(self) -> ModuleProcess:
        """One more extender that reaches the API server directly; not started."""
        return self._made(free_port(), self._control.admin)

    def replace_extender(
        self, *, log: Path | None = None, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """Stop the extender, and start it at the same address in another way."""
        self.extender.stop()
        self.log = log or self.log
        self.extender = self._made(self._port, self.kubeconfig, prefix, environment)
        self.extender.start()

    def at_the_end(self, work: Callable[[], object]) -> None:
        """Do something when the cluster is stopped, before it is."""
        self._stack.callback(work)

    def stories(self) -> list[PodStory]:
        """What became of every pod."""
        return self.watchers.follower.stories()

    def violations(self) -> list[Violation]:
        """What was wrong at any instant so far, and what is wrong now that nothing is under way."""
        return [*self._earlier, *self.watchers.checker.settle()]

    def start_over(self) -> None:
        """Start all that looks at the API server anew, but the extender: the past has changed."""
        self.scheduler.stop()
        self._earlier += self.watchers.checker.violations
        self._stop_watchers()
        if self._kubelet is not None:
            self._kubelet.stop()
            self._kubelet = LightKubelet(self.client)
            self._kubelet.start()
        known = {story.uid for story in self.stories()}
        self.watchers = self._new_watchers(self.watchers.follower)
        self.undone |= known - {pod["metadata"]["uid"] for pod in self.client.pods()}
        self.scheduler = self.new_scheduler(self.extender)

    def change_certificate(self) -> Path:
        """Let the API server prove itself by another authority; the path of that, for the extender's `ca.crt`."""
        authority, fresh = Authority(), self.folder / "fresh.crt"
        authority.write(fresh)
        authority.write_key(self.folder / "server.key")
        self.proxy.tls = server_context(fresh)
        self.proxy.cut()
        return fresh

    def write_token(self) -> None:
        """Write the token that the API server wants to the extender's file."""
        fresh = self.folder / "token.new"
        fresh.write_text(self.proxy.token, encoding="ascii")
        fresh.rename(self.folder / "token")

    def _open(self) -> Path:
        return self.proxy.write_kubeconfig(self.folder / "kubeconfig")

    def _secured(self) -> Path:
        authority = self.change_certificate().rename(self.folder / "ca.crt")
        self.proxy.token = "t"  # noqa: S105 - nothing secret
        self.write_token()
        token = self.folder / "token"
        return self.proxy.write_kubeconfig(self.folder / "kubeconfig", ca_file=authority, token_file=token)

    def _made(
        self, port: int, kubeconfig: Path, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> ModuleProcess:
        options = ["--kubeconfig", str(kubeconfig), "--listen", f"127.0.0.1:{port}", *self.shape.extender_arguments]
        return ModuleProcess("extender", options, port, log=self.log, prefix=prefix, environment=environment)

    def _create_priority_class(self) -> None:
        path = "/apis/scheduling.k8s.io/v1/priorityclasses"
        if self.client.find(f"{path}/{IMPORTANT}") is None:
            self.client.request("POST", path, {"metadata": {"name": IMPORTANT}, "value": 1000})

    def _add_nodes(self, stack: ExitStack) -> None:
        specs = [MachineSpec(f"n{index}", _MACHINE_GPUS) for index in range(self.shape.nodes)]
        for spec in specs:
            if self.shape.light:
                self.client.create_node(spec.hollow_node_object(NAMES))
            else:
                node = SimulatedNode(spec, self._control.admin)
                self.nodes[spec.name] = node
                node.start()
        if self.shape.light:
            self._kubelet = LightKubelet(self.client)
            self._kubelet.start()
            stack.callback(self._stop_kubelet)

    def stop_scheduler(self) -> None:
        """Let no scheduler run."""
        self.scheduler.stop()

    def _stop_kubelet(self) -> None:
        if self._kubelet is not None:
            self._kubelet.stop()

    def _stop_extender(self) -> None:
        self.extender.stop()

    def _stop_nodes(self) -> None:
        for node in self.nodes.values():
            node.stop()

    def _new_watchers(self, earlier: Follower | None) -> Watchers:
        follower = Follower(self.client)
        if earlier is not None:
            follower.take_over(earlier)
        watchers = Watchers(Checker(self.client), follower)
        watchers.follower.start()
        watchers.checker.start()
        return watchers

    def _stop_watchers(self) -> None:
        self.watchers.checker.stop()
        self.watchers.follower.stop()
