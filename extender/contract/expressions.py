"""Says whether labels meet a requirement, as the selectors of Kubernetes do."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expression:
    """One requirement on a label or field: In, NotIn, Exists, DoesNotExist, Gt or Lt; any other never holds."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, entries: Mapping[str, str]) -> bool:
        """Whether `entries` meet it."""
        value = entries.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return len(self.values) == 1 and compares(self.operator, value or "", self.values[0])
            case _:
                return False


def compares(operator: str, value: str, bound: str) -> bool:
    """Whether `value` is less (Lt) or greater (Gt) than `bound`; False unless both are integers."""
    try:
        one, other = int(value), int(bound)
    except ValueError:
        return False
    return one > other if operator == "Gt" else one < other
