"""Matches the product names of GPUs against the patterns of the `gpu-model` annotation."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from extender.contract.mig import says_mig

_VENDOR_WORDS = ("NVIDIA-", "TESLA-")
_LONGEST = 1024


class RequestError(ValueError):
    """A pod's request is invalid; the message names the field, the value and what was expected."""


@dataclass(frozen=True, slots=True)
class ModelPatterns:
    """Accepted and refused GPU models, as shell patterns.

    A model is accepted when it matches one of `accepted` (or there is none) and none of `refused`. Case and a leading
    NVIDIA or Tesla do not matter, and a blank is a hyphen: `A100*` matches `NVIDIA A100-SXM4-80GB`, `T4` matches
    `Tesla T4`. The patterns are kept as they were written, for people.
    """

    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def match(self, model: str) -> bool:
        """Whether a GPU of this product name is accepted."""
        return not (self.accepted or self.refused) or _match(self, model)

    @property
    def asks_for_mig(self) -> bool:
        """Whether any accepted pattern has `MIG` in it."""
        return any(map(says_mig, self.accepted))

    def names_mig(self, model: str) -> bool:
        """Whether a MIG device of this product name is accepted by a pattern with `MIG` in it."""
        return _names_mig(self, model)


ANY_MODEL = ModelPatterns()


def parse_models(text: str) -> ModelPatterns:
    """Read `A100*,!*MIG*`: comma-separated patterns, `!` refuses.

    Raises:
        RequestError: an empty pattern, or so many that matching them would keep the scheduler busy.
    """
    if len(text) > _LONGEST:
        raise RequestError(f"gpu-model of {len(text)} characters: expected at most {_LONGEST}")
    accepted: list[str] = []
    refused: list[str] = []
    for part in text.split(","):
        pattern = part.strip()
        name = pattern.removeprefix("!").strip()
        if not name:
            raise RequestError(f"gpu-model {text!r}: expected patterns such as A100*,!*MIG*")
        (refused if pattern.startswith("!") else accepted).append(name)
    return ModelPatterns(tuple(accepted), tuple(refused))


def _folded(text: str) -> str:
    return "-".join(text.upper().split())


@lru_cache(maxsize=4096)
def _match(patterns: ModelPatterns, model: str) -> bool:
    names = [_folded(model)]
    for word in _VENDOR_WORDS:
        names.extend([name.removeprefix(word) for name in names if name.startswith(word)])

    def any_of(candidates: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, _folded(pattern)) for name in names for pattern in candidates)

    return (not patterns.accepted or any_of(patterns.accepted)) and not any_of(patterns.refused)


@lru_cache(maxsize=4096)
def _names_mig(patterns: ModelPatterns, model: str) -> bool:
    naming = tuple(pattern for pattern in patterns.accepted if says_mig(pattern))
    return bool(naming) and _match(ModelPatterns(naming, patterns.refused), model)
