"""Waiting is not ill health, and not readiness either."""

from device_plugin.serving import Health


def test_what_is_waited_for_is_said_and_not_ready() -> None:
    """The text names every part."""
    health = Health({"gpus": lambda: "", "kubelet": lambda: "no kubelet", "pods": lambda: "late"}, lambda: "")
    text = "kubelet: no kubelet\npods: late"
    assert (health.healthz(), health.readyz()) == ((200, text), (503, text))


def test_all_is_well() -> None:
    """200 and ok."""
    health = Health({"gpus": lambda: ""}, lambda: "")
    assert (health.healthz(), health.readyz()) == ((200, "ok"), (200, "ok"))


def test_a_dead_loop_is_ill_health() -> None:
    """The process is to be restarted."""
    health = Health({}, lambda: "KeyError: 'a'")
    assert (health.healthz(), health.readyz()) == ((500, "KeyError: 'a'"), (503, "KeyError: 'a'"))
