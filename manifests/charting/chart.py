"""Turns the kustomizations into the chart's templates, one file per object, except Namespaces, which Helm handles."""

import copy
from typing import Any

import yaml

from manifests.charting.conditional import merged, negated, under
from manifests.charting.rendering import Key, Object, rendered
from manifests.charting.values import TOGGLED_KINDS, Tokens

HEADER = "{{- /* Written by `make chart` from manifests/overlays and manifests/components; edit those instead. */}}"
SECOND, DEFAULT, SIMULATED = (f"overlays/{name}" for name in ("second-scheduler", "default-scheduler", "simulated"))
IS_SECOND = ".Values.scheduler.enabled"
VARIANTS = {
    ".Values.simulated.enabled": ([SIMULATED], []),
    ".Values.mps.enabled": ([SECOND], ["mps"]),
    ".Values.driverLimits.enabled": ([SECOND], ["driver-limits"]),
    ".Values.evictOveruse.enabled": ([SECOND], ["evict-overuse"]),
    ".Values.mig.enabled": ([SECOND], ["mig"]),
    ".Values.setSchedulerName.enabled": ([SECOND], ["set-scheduler-name"]),
    ".Values.monitoring.enabled": ([SECOND, "dashboards"], []),
}
"""The folders and components that kustomize renders for each of the chart's options."""


class _Dumper(yaml.SafeDumper):
    """Writes multi-line strings as literal blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def templates(kubectl: str) -> dict[str, str]:
    """Content by file name.

    Raises:
        RenderingError: a kustomization cannot be rendered.
    """
    plain = rendered(kubectl, [SECOND])
    beside = rendered(kubectl, [DEFAULT])
    variants = {option: rendered(kubectl, *what) for option, what in VARIANTS.items()}
    tokens = Tokens()
    for objects in (plain, beside, *variants.values()):
        tokens.put(objects)
    keys = {key: None for objects in (plain, beside, *variants.values()) for key in objects if key[0] != "Namespace"}
    return {
        f"{kind}-{name}.yaml".lower(): _template((kind, name), plain, beside, variants, tokens) for kind, name in keys
    }


def _template(
    key: Key,
    plain: dict[Key, Object],
    beside: dict[Key, Object],
    variants: dict[str, dict[Key, Object]],
    tokens: Tokens,
) -> str:
    if key in plain:
        changed = {option: _lines(objects.get(key), tokens) for option, objects in variants.items()}
        own = _lines(plain[key], tokens)
        lines = merged(own, {option: lines for option, lines in changed.items() if lines != own})
        if key not in beside:
            lines = under(IS_SECOND, lines)
    else:
        lines = _optional(key, beside, variants, tokens)
    if key[0] in TOGGLED_KINDS:
        lines = under(TOGGLED_KINDS[key[0]], lines)
    return "\n".join([HEADER, *lines, ""])


def _optional(key: Key, beside: dict[Key, Object], variants: dict[str, dict[Key, Object]], tokens: Tokens) -> list[str]:
    """The template of an object that exists only with one option."""
    for option, objects in variants.items():
        if key in objects:
            return under(option, _lines(objects[key], tokens))
    return under(negated([IS_SECOND]), _lines(beside[key], tokens))


def _lines(found: Any, tokens: Tokens) -> list[str]:
    if found is None:
        return []
    text = yaml.dump(copy.deepcopy(found), Dumper=_Dumper, width=10_000, default_flow_style=False)
    return tokens.filled(text).splitlines()
