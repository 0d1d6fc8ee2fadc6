"""Safeguards are checked at birth; the message names what is wrong."""

from pathlib import Path, PurePath

import pytest

from device_plugin.cli import parse_xids
from device_plugin.settings import MpsAccess, Safeguards, SettingsError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"probe_interval_s": 0.0}, "probe_interval_s 0.0: expected 0.05 to 3600"),
        ({"overuse_grace_s": float("nan")}, "overuse_grace_s nan: expected 0 to 86400"),
        ({"probation_s": -1.0}, "probation_s -1.0"),
        ({"driver_timeout_s": 0.0}, "driver_timeout_s 0.0: expected 0.05 to 3600"),
        ({"restart_after_s": -1.0}, "restart_after_s -1.0"),
        ({"overuse_tolerance_mib": -1}, "overuse_tolerance_mib -1"),
        ({"mps_pipe_directory": Path("mps")}, "mps_pipe_directory 'mps': expected an absolute path"),
        ({"ignored_xids": frozenset({-3})}, r"ignored_xids \[-3\]"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, object], words: str) -> None:
    """With the name, the value and what was expected."""
    with pytest.raises(SettingsError, match=words):
        Safeguards(**given)  # type: ignore[arg-type]


def test_mps_is_off_until_its_folder_is_named() -> None:
    """Then containers get that folder."""
    assert Safeguards().mps is None
    found = Safeguards(mps_pipe_directory=Path("/run/mps"), mps_shm_directory=Path("/run/shm")).mps
    assert found == MpsAccess(PurePath("/run/mps"), PurePath("/run/shm"))


def test_xids_come_as_numbers_and_commas() -> None:
    """Anything else is refused."""
    assert (parse_xids("94, 119"), parse_xids("")) == (frozenset({94, 119}), frozenset())
    with pytest.raises(SettingsError, match="'94;119': expected numbers and commas"):
        parse_xids("94;119")
    with pytest.raises(SettingsError, match="expected numbers and commas"):
        parse_xids("94," + "9" * 5000)
