"""The extender's metrics on the page are those that it exports."""

import re
from pathlib import Path

from tests.docs.pages import REPOSITORY
from tests.manifests.exported import of_extender

ROW = re.compile(r"^\| `(\w+)` \| (`[^|]*`|–) \| ", re.MULTILINE)


def test_the_extenders_metrics_are_the_documented_ones(tmp_path: Path) -> None:
    """Names and labels, in both directions; a histogram counts as one metric."""
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = text.partition("\n## The extender\n")[2].partition("\n## ")[0]
    documented = {name: frozenset(re.findall(r"`(\w+)`", labels)) for name, labels in ROW.findall(section)}
    exported = {
        re.sub(r"_(bucket|count|sum)$", "", name): labels - {"le"}
        for name, labels in of_extender(tmp_path).items()
        if name.startswith("gpupack_") and not name.endswith("_created")
    }
    assert documented == exported
