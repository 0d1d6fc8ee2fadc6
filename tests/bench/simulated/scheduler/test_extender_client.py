"""Every way in which a call to the extender can fail is an ExtenderError with kube-scheduler's text."""

import threading
from typing import Any

import pytest

from bench.simulated.scheduler.extender_client import ExtenderClient, ExtenderError, FilterAnswer
from tests.fakes.scripted_extender import ScriptedExtender

POD = {"metadata": {"name": "a"}, "spec": {}, "status": {}}


def test_a_filter_answer_is_read_in_any_case() -> None:
    """Go matches keys regardless of case, and takes null for nothing."""
    answer = {"nodeNames": ["n1"], "FAILEDNODES": {"n2": "full"}, "FailedAndUnresolvableNodes": None}
    with ScriptedExtender(filter=lambda _: answer) as extender:
        client = ExtenderClient(extender.url)
        assert client.filter(POD, ["n1", "n2"]) == FilterAnswer(("n1",), {"n2": "full"}, {})
        client.close()


@pytest.mark.parametrize("answer", [None, [], {}])
def test_an_empty_answer_means_no_node(answer: Any) -> None:
    """Unschedulable with no reason at all."""
    with ScriptedExtender(filter=lambda _: answer) as extender:
        client = ExtenderClient(extender.url)
        assert client.filter(POD, ["n1"]) == FilterAnswer((), {}, {})
        client.close()


def test_a_fraction_as_a_score_spoils_the_answer() -> None:
    """Go cannot decode 5.5 into an int64."""
    with ScriptedExtender(prioritize=lambda _: [{"Host": "n1", "Score": 5.5}]) as extender:
        client = ExtenderClient(extender.url)
        with pytest.raises(ExtenderError, match="cannot unmarshal"):
            client.prioritize(POD, ["n1"])
        client.close()


def test_an_extender_that_does_not_answer_times_out() -> None:
    """On a fresh connection and on one that was kept."""
    thaw = threading.Event()
    thaw.set()

    def answer(_: Any) -> Any:
        thaw.wait(30)
        return {"NodeNames": []}

    with ScriptedExtender(filter=answer) as extender:
        client = ExtenderClient(extender.url, timeout_s=0.2)
        client.filter(POD, ["n1"])
        thaw.clear()
        for _ in range(2):
            with pytest.raises(ExtenderError, match="context deadline exceeded"):
                client.filter(POD, ["n1"])
        thaw.set()
        client.close()


def test_an_extender_that_is_not_there_is_an_error() -> None:
    """Connection refused, after a kept connection has turned out to be dead."""
    with ScriptedExtender() as extender:
        client = ExtenderClient(extender.url, timeout_s=2)
        client.filter(POD, ["n1"])
    client.close()
    with pytest.raises(ExtenderError, match=f'Post "{extender.url}/filter"'):
        client.filter(POD, ["n1"])


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1"])
def test_an_address_that_cannot_be_called_is_refused(url: str) -> None:
    """Found at start."""
    with pytest.raises(ValueError, match="extender url"):
        ExtenderClient(url)
