"""A MIG device says of which GPU it is a part, how people name it, and what it is of the price of its GPU."""

import pytest

from extender.contract.mig import MigDevice, asks_for_mig, card_of, model_of_card, place_text
from extender.contract.units import GpuUuid

PARENT, OWN = GpuUuid("GPU-a"), GpuUuid("MIG-b")
DEVICE = MigDevice(PARENT, 3, 9, 0, "2g.20gb", 2, 7)


def test_people_name_a_mig_device_by_its_number_on_its_gpu() -> None:
    """As `nvidia-smi -L` and CDI do; a GPU by its index."""
    assert [place_text(1, None), place_text(1, DEVICE)] == ["1", "1:3"]


def test_a_mig_device_is_a_part_of_its_gpu() -> None:
    """Of which there is one, whatever it is split into."""
    assert [card_of(PARENT, None), card_of(OWN, DEVICE)] == ["GPU-a", "GPU-a"]
    assert DEVICE.share == pytest.approx(2 / 7)


def test_the_model_of_the_gpu_is_that_of_its_mig_devices_without_the_profile() -> None:
    """What is named otherwise stays as it is."""
    model = "NVIDIA A100-SXM4-80GB"
    assert model_of_card(model, None) == model
    assert model_of_card(f"{model} MIG 2g.20gb", DEVICE) == model
    assert model_of_card("Odd", DEVICE) == "Odd"


@pytest.mark.parametrize(
    ("gpu_model", "expected"),
    [
        ("*MIG*", True),
        ("T4, a100*mig-1g*", True),
        ("A100*", False),
        ("A100*,!*MIG*", False),
        (" ! *MIG*", False),
        ("", False),
    ],
)
def test_who_accepts_mig_devices_as_whole_gpus(gpu_model: str, expected: bool) -> None:  # noqa: FBT001 (a column)
    """By a pattern that does not refuse."""
    assert asks_for_mig(gpu_model) is expected
