"""The model of the day runs on a CPU too, where torch is installed."""

import pytest

from bench.gpu_day.workloads.decoder import DecoderModel, DecoderSize
from bench.gpu_day.workloads.serving import STEPS

TINY = DecoderSize(width=128, ffn=256, layers=2, vocabulary=512, prompt=8, new_tokens=4, batch=2)


def test_a_request_is_answered_token_by_token() -> None:
    """After every step was loaded; for one answer and for several at the same time."""
    pytest.importorskip("torch", reason="torch is none of the project's packages")
    model = DecoderModel("cpu", TINY)
    for step in STEPS:
        model.step(step)
    assert [len(model.request(kind)) for kind in ("launch", "gpu")] == [4, 4]
    assert (model.batch("launch"), model.batch("gpu")) == (1, 2)
