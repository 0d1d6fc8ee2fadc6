"""Validates the extender's settings once, at start."""

from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from math import isfinite

from extender.contract.names import Names
from extender.contract.quantity import parse_digits
from extender.contract.units import DEFAULT_UNIT_MIB, UnitMib, check_unit_mib
from extender.scheduling.policies.table import DEFAULT_POLICY, policy_named

PLACEMENTS = ("exact", "scored")
DEFAULT_LISTEN = "127.0.0.1:39999"


class SettingsError(ValueError):
    """A setting is invalid; the message names it, its value and what was expected."""


@dataclass(frozen=True, slots=True)
class Address:
    """Host and TCP port to listen on; port 0 picks a free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether nothing outside of this machine (or pod) can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(text: str, *, setting: str) -> Address:
    """Read HOST:PORT or [HOST]:PORT.

    Raises:
        SettingsError: not of that form.
    """
    host, separator, digits = text.rpartition(":")
    port = parse_digits(digits)
    if not separator or not host or port is None or port > 65535:
        raise SettingsError(f"{setting} is {text!r}, expected HOST:PORT such as {DEFAULT_LISTEN}")
    return Address(host.removeprefix("[").removesuffix("]"), port)


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the server's certificate and key, and the authority whose clients are let in."""

    certificate: str
    key: str
    client_authority: str


@dataclass(frozen=True, slots=True)
class Settings:
    """How one extender runs.

    Args:
        kubeconfig: file that says how to reach the API server; empty for the pod's service account.
        listen: where kube-scheduler's calls come in.
        observe: where only health and metrics are served, for probes and Prometheus; None for nowhere else.
        names: resource and annotation names of the installation.
        policy: the cluster's packing policy.
        unit_mib: size of one memory unit.
        placement: `exact` answers filter with the one best node, `scored` with the best `keep` nodes.
        keep: nodes in a filter answer under `scored`.
        hold_s: how long filter keeps room for a pod when there is no way to tell whether kube-scheduler still tries.
        stale_s: age of the view of the cluster from which on filter refuses.
        threads: binds that wait for the API server at the same time.
        max_body_bytes: largest call that is read.
        tls: needed to listen on anything but loopback.
        allowed_hosts: names in the Host header of people's requests, besides loopback names and the address itself.
        events_per_s: Events on pods a second in the long run; 0 writes none.
        scheduler_names: schedulers whose pods come here; empty when they are to be learned from the calls.
    """

    kubeconfig: str = ""
    listen: Address = field(default_factory=lambda: parse_address(DEFAULT_LISTEN, setting="listen"))
    observe: Address | None = None
    names: Names = field(default_factory=Names)
    policy: str = DEFAULT_POLICY
    unit_mib: UnitMib = DEFAULT_UNIT_MIB
    placement: str = "exact"
    keep: int = 16
    hold_s: float = 30.0
    stale_s: float = 120.0
    threads: int = 64
    max_body_bytes: int = 64 * 1024 * 1024
    tls: Tls | None = None
    allowed_hosts: tuple[str, ...] = ()
    events_per_s: float = 20.0
    scheduler_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_unit_mib(self.unit_mib)
        policy_named(self.policy)
        if self.placement not in PLACEMENTS:
            raise SettingsError(f"placement is {self.placement!r}, expected one of {', '.join(PLACEMENTS)}")
        for name, value, least in (
            ("keep", self.keep, 1),
            ("hold_s", self.hold_s, 0.1),
            ("stale_s", self.stale_s, 1.0),
            ("threads", self.threads, 4),
            ("max_body_bytes", self.max_body_bytes, 1024),
            ("events_per_s", self.events_per_s, 0.0),
        ):
            if not (isfinite(value) and value >= least):
                raise SettingsError(f"{name} is {value}, expected at least {least}")
        for host in self.allowed_hosts:
            if not host or not set(host).isdisjoint("/:*[] "):
                raise SettingsError(f"allowed-host is {host!r}, expected a host name without port")
        for scheduler in self.scheduler_names:
            if not scheduler or scheduler != "".join(scheduler.split()):
                raise SettingsError(f"scheduler-name is {scheduler!r}, expected a name without blanks")
        if not self.listen.loopback and self.tls is None:
            raise SettingsError(
                f"listen is {self.listen.host}:{self.listen.port}, where any client on the network could bind pods; "
                "expected a loopback address, or TLS with client certificates (--tls-certificate, "
                "--tls-key, --tls-client-authority)"
            )

    @property
    def answers(self) -> int:
        """Nodes in a filter answer."""
        return 1 if self.placement == "exact" else self.keep

    def described(self) -> dict[str, object]:
        """Every setting with its effective value, for the log."""
        return asdict(self)
