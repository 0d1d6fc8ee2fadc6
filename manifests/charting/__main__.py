"""Runs `python -m manifests.charting`: writes the generated files, or with --check lists those that are out of date."""

import shutil
import sys
from pathlib import Path

import click
import yaml

from manifests.charting.chart import templates
from manifests.charting.rendering import MANIFESTS

RULES = MANIFESTS / "dashboards" / "rules.yaml"
PROMETHEUS_RULE = MANIFESTS / "dashboards" / "prometheus-rule.yaml"
TEMPLATES = MANIFESTS / "chart" / "templates"
BY_HAND = {"NOTES.txt"}


def prometheus_rule() -> str:
    """The PrometheusRule object with the alerting rules."""
    body = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "gpupack",
            "namespace": "gpupack-system",
            "labels": {"app.kubernetes.io/name": "gpupack"},
        },
        "spec": yaml.safe_load(RULES.read_text(encoding="utf-8")),
    }
    header = "# Written by `make chart` from rules.yaml; edit that file instead.\n"
    return header + yaml.safe_dump(body, sort_keys=False, width=120)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 when a file is out of date.")
@click.option("--kubectl", default="kubectl", help="The kubectl that renders the kustomizations.")
def main(*, check: bool, kubectl: str) -> None:
    """Write the Helm chart's templates and the rules for the Prometheus Operator."""
    out_of_date = _write({PROMETHEUS_RULE: prometheus_rule()}, check=check)
    wanted = {TEMPLATES / name: text for name, text in templates(kubectl).items()}
    superfluous = [path for path in TEMPLATES.glob("*") if path not in wanted and path.name not in BY_HAND]
    out_of_date += _write(wanted, check=check) + superfluous
    if not check:
        for path in superfluous:
            path.unlink()
    for path in out_of_date:
        click.echo(f"{path.relative_to(MANIFESTS.parent)} {'is out of date: run make chart' if check else 'written'}")
    sys.exit(1 if check and out_of_date else 0)


def _write(files: dict[Path, str], *, check: bool) -> list[Path]:
    """Write the files that differ, and return them."""
    found = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if not check:
        for path in found:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
    return found


if __name__ == "__main__":
    if shutil.which("kubectl") is None and "--kubectl" not in sys.argv:
        sys.exit("kubectl is not in PATH: install it, or name one with --kubectl")
    main()
