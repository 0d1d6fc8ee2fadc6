"""Merges the lines of an object, as rendered with and without each option, into one Helm template with conditions.

With no option on, the template gives the plain lines; with one on, that variant's, line by line. Options that are on
together each make their own change.
"""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher


def merged(plain: Sequence[str], variants: Mapping[str, Sequence[str]]) -> list[str]:
    """The template's lines; the keys of `variants` are Helm expressions that are true when the option is on."""
    added: dict[int, list[tuple[str, Sequence[str]]]] = {}
    dropped: dict[int, list[str]] = {}
    for option, lines in variants.items():
        for tag, start, end, new_start, new_end in SequenceMatcher(None, plain, lines, autojunk=False).get_opcodes():
            if tag == "equal":
                continue
            if new_end > new_start:
                added.setdefault(start, []).append((option, lines[new_start:new_end]))
            for place in range(start, end):
                dropped.setdefault(place, []).append(option)
    found: list[str] = []
    for place in range(len(plain) + 1):
        for options, lines in _grouped(added.get(place, [])):
            found += under(either(options), lines)
        if place < len(plain):
            found += _kept(plain[place], dropped.get(place, []))
    return _joined(found)


def under(option: str, lines: Sequence[str]) -> list[str]:
    """The lines under the condition that an option is on."""
    return [f"{{{{- if {option} }}}}", *lines, "{{- end }}"]


def either(options: Sequence[str]) -> str:
    """A Helm expression that is true when at least one option is on."""
    return options[0] if len(options) == 1 else f"or {' '.join(_words(options))}"


def negated(options: Sequence[str]) -> str:
    """A Helm expression that is true when no option is on."""
    words = _words(options)
    return f"not {words[0]}" if len(words) == 1 else f"not (or {' '.join(words)})"


def _words(options: Sequence[str]) -> list[str]:
    return [option if " " not in option else f"({option})" for option in options]


def _grouped(added: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[list[str], Sequence[str]]]:
    """Additions to one place; options that add the same lines add them once, so that the template stays YAML."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for option, lines in added:
        groups.setdefault(tuple(lines), []).append(option)
    return [(options, lines) for lines, options in groups.items()]


def _kept(line: str, without: Sequence[str]) -> list[str]:
    return under(negated(without), [line]) if without else [line]


def _joined(lines: Sequence[str]) -> list[str]:
    """Join adjacent blocks with the same condition."""
    found: list[str] = []
    opened = ""
    for line in lines:
        if line.startswith("{{- if ") and found and found[-1] == "{{- end }}" and opened == line:
            found.pop()
            continue
        if line.startswith("{{- if "):
            opened = line
        found.append(line)
    return found
