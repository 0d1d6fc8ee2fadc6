"""`drain-advice` names nodes, moves and dollars, and what it does not know."""

from typing import Any

from extender.kubectl.cluster.prices import load_prices
from extender.kubectl.commands.drain_advice import drain_advice
from extender.kubectl.options import Output
from extender.kubectl.output.answer import Answer
from extender.kubectl.output.writing import written
from tests.extender.kubectl.placed import node, placed, uuid, view
from tests.extender.objects import mixed_node

PRICES = load_prices()


def _document(answer: Answer) -> Any:
    return answer.document


def test_it_says_what_moves_where_and_what_that_saves() -> None:
    """Two T4 nodes: one idle, one that can be emptied."""
    pods = [placed("a", 4, "n1", deployment="llm"), placed("b", 8, "n2", deployment="big")]
    answer = drain_advice(view([node("n1", 16), node("n2", 16), node("n3", 16, 16)], pods), PRICES, policy="binpack")
    told = _document(answer)
    assert [one["node"] for one in told["idle"]] == ["n3"]
    assert told["drainable"] == [
        {
            "node": "n1",
            "gpus": 1,
            "usdPerHour": 0.35,
            "moves": [
                {
                    "namespace": "default",
                    "pod": "a",
                    "owner": "Deployment/llm",
                    "to": "n2",
                    "gpus": [
                        {
                            "uuid": uuid("n2", 0),
                            "index": 0,
                            "place": "0",
                            "model": "Tesla T4",
                            "whole": False,
                            "units": 4,
                        }
                    ],
                    "loses": [],
                    "unchecked": [],
                }
            ],
        }
    ]
    assert (round(told["savedUsdPerHour"], 2), answer.exit_code) == (1.05, 0)
    text = written(answer, Output.TABLE, colour=False)
    assert "1 node idle, 1 more could be emptied by moving 1 pod: $1.05/h" in text
    assert "PodDisruptionBudgets are not considered" in text


def test_bare_pods_keep_their_node_unless_forced() -> None:
    """Then they are flagged."""
    here = view([node("n1", 16), node("n2", 24)], [placed("a", 4, "n1"), placed("b", 18, "n2", deployment="big")])
    kept = _document(drain_advice(here, PRICES, policy="binpack"))["kept"]
    assert [(one["node"], one["pod"]) for one in kept] == [("n1", "default/a"), ("n2", "default/b")]
    assert kept[0]["why"].startswith("bare pod")
    answer = drain_advice(here, PRICES, policy="binpack", force=True)
    assert [one["node"] for one in _document(answer)["drainable"]] == ["n1"]
    assert "bare pod: recreate it yourself" in written(answer, Output.TABLE, colour=False)


def test_a_move_to_a_mig_device_names_its_place() -> None:
    """Its GPU's index alone would be the whole GPU."""
    pods = [placed("a", 4, "n1", deployment="llm"), placed("b", 80, "n3", deployment="big")]
    answer = drain_advice(view([node("n1", 16), mixed_node("n3")], pods), PRICES, policy="binpack")
    places = [gpu["place"] for one in _document(answer)["drainable"] for move in one["moves"] for gpu in move["gpus"]]
    assert places == ["1:1"]
    row = next(line for line in written(answer, Output.TABLE, colour=False).splitlines() if "default/a" in line)
    assert row.split() == ["default/a", "Deployment/llm", "4Gi", "n1", "n3", "1:1"]


def test_a_model_without_a_price_is_said() -> None:
    """Nothing is added up then."""
    answer = drain_advice(view([node("n1", 16, model="Unheard Of")]), PRICES)
    assert (_document(answer)["savedUsdPerHour"], _document(answer)["idle"][0]["usdPerHour"]) == (None, None)
    assert "a GPU model has no price" in written(answer, Output.TABLE, colour=False)
