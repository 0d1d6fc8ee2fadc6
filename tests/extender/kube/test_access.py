"""Which cluster, context and namespace are meant is found as kubectl finds it."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from extender.kube.access import Access, access_of
from extender.kube.errors import KubeConfigError


def written(path: Path, current: str = "", **namespaces: str) -> Path:
    """A kubeconfig with contexts of these namespaces."""
    contexts = [{"name": name, "context": {"namespace": space} if space else {}} for name, space in namespaces.items()]
    content: dict[str, Any] = {"kind": "Config", "contexts": contexts}
    if current:
        content["current-context"] = current
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_option_comes_before_the_environment_and_that_before_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is there first."""
    (tmp_path / ".kube").mkdir()
    home = written(tmp_path / ".kube" / "config", "home", home="")
    named = written(tmp_path / "named", "named", named="team")
    given = written(tmp_path / "given", "given", given="other")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert access_of("", "") == Access(str(home), "home", "")
    monkeypatch.setenv("KUBECONFIG", str(named))
    assert access_of("", "") == Access(str(named), "named", "team")
    assert access_of(str(given), "") == Access(str(given), "given", "other")


def test_of_several_files_the_first_that_says_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both for the current context and for what a context is; --context chooses another."""
    files = [
        tmp_path / "absent",
        written(tmp_path / "a", a="in-a"),
        written(tmp_path / "b", "b", a="hidden", b="in-b"),
        written(tmp_path / "c", "c", c="in-c"),
    ]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))
    found = [access_of("", context) for context in ("", "a", "c", "nowhere")]
    assert [(access.context, access.namespace) for access in found] == [
        ("b", "in-b"),
        ("a", "in-a"),
        ("c", "in-c"),
        ("nowhere", ""),
    ]


@pytest.mark.parametrize(("text", "words"), [("a: [", "while parsing"), ("- a", "expected an object, got list")])
def test_what_is_no_kubeconfig_is_wrong_usage(tmp_path: Path, text: str, words: str) -> None:
    """In one line, with the file's name."""
    file = tmp_path / "broken"
    file.write_text(text)
    with pytest.raises(KubeConfigError) as caught:
        access_of(str(file), "")
    assert str(file) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
