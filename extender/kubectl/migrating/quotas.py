"""Rewrites the `hard` limits of a ResourceQuota on other programs' memory, where gpupack's units hold them exactly.

HAMi's are on `limits.nvidia.com/gpumem`, MiB (its docs/resource-quota.md); of gpupack's Kubernetes counts `requests.`
"""

from collections.abc import Mapping

from extender.contract.quantity import parse_quantity
from extender.contract.units import ContractError
from extender.kubectl.migrating import peers
from extender.kubectl.migrating.requests import Change, MigrateOptions, Rewrite

PREFIXES = ("requests.", "limits.")


def decide_quota(hard: Mapping[str, str], options: MigrateOptions) -> Rewrite | None:
    """What to change in `spec.hard`; None where nothing is, or where something cannot be converted exactly.

    Rounding would give a team more, or refuse it what it has.
    """
    unit_of_mib = {peers.GPUSHARE_MEMORY: options.gpushare_unit_mib, peers.HAMI_MEMORY: 1}
    ours = f"requests.{options.names.memory_resource}"
    found = [name for name in hard if _resource(name) in unit_of_mib and _resource(name) not in options.keep]
    if len(found) != 1 or ours in hard:
        return None
    (name,) = found
    try:
        memory_mib = parse_quantity(hard[name]) * unit_of_mib[_resource(name)]
    except ContractError:
        return None
    if memory_mib < 0 or memory_mib % options.unit_mib:
        return None
    units = memory_mib // options.unit_mib
    text = f"{name}: {hard[name]} -> {ours}: {units} ({units} x {options.unit_mib} MiB)"
    return Rewrite(hard=Change((name,), {ours: units}), summary=(text,))


def _resource(name: str) -> str:
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return ""
