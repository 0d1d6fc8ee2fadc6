"""Drives a headless Chromium over the DevTools protocol: pages as people see them, with clock, keys and screenshots."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import urllib3
from websocket import WebSocketTimeoutException, create_connection

Json = dict[str, Any]
TIMEOUT_S = 90.0
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")

needs_chromium = pytest.mark.skipif(
    not any(map(shutil.which, PROGRAMS)), reason=f"no browser is installed, looked for {', '.join(PROGRAMS)}"
)


class Chromium:
    """One tab of a browser of its own; a context manager. `problems` is what its console complained of."""

    def __init__(self, *, width: int = 1440, height: int = 1400) -> None:
        self._folder = tempfile.mkdtemp(prefix="gpupack-chromium-")
        program = next(found for found in map(shutil.which, PROGRAMS) if found)
        command = [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
            *("--remote-debugging-port=0", f"--user-data-dir={self._folder}", f"--window-size={width},{height}"),
            *("--disable-background-networking", "--disable-component-update", "about:blank"),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._number = 0
        self._events: deque[Json] = deque()
        self.problems: list[str] = []
        self._socket = create_connection(self._tab(), timeout=TIMEOUT_S, suppress_origin=True)
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self.call("Performance.enable", timeDomain="threadTicks")

    def _tab(self) -> str:
        port_file = Path(self._folder) / "DevToolsActivePort"
        deadline_s = time.monotonic() + TIMEOUT_S
        while not (port_file.exists() and port_file.read_text(encoding="ascii").count("\n")):
            assert time.monotonic() < deadline_s, "the browser does not start"
            time.sleep(0.05)
        port = port_file.read_text(encoding="ascii").split("\n")[0]
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT_S) as pool:
            while True:
                # It answers before its first tab is there.
                tabs: list[Json] = pool.request("GET", f"http://127.0.0.1:{port}/json/list").json()
                found = [str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page"]
                if found:
                    return found[0]
                assert time.monotonic() < deadline_s, "the browser opens no tab"
                time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method: str, **parameters: object) -> Json:
        """One command of the protocol and its result."""
        self._number += 1
        number = self._number
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = self._receive(TIMEOUT_S)
            if message.get("id") == number:
                assert "error" not in message, (method, message)
                result: Json = message["result"]
                return result
            self._note(message)

    def _receive(self, timeout_s: float) -> Json:
        self._socket.settimeout(timeout_s)
        message: Json = json.loads(self._socket.recv())
        return message

    def _note(self, message: Json) -> None:
        self._events.append(message)
        parameters = message.get("params", {})
        if message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(parameters["entry"]["text"])
        if message["method"] == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))

    def open(self, url: str) -> None:
        """Load a page, until its own load event: that of the page before may come late."""
        self._events.clear()
        loader = self.call("Page.navigate", url=url)["loaderId"]
        deadline_s = time.monotonic() + TIMEOUT_S
        while not any(_is_load(event, loader) for event in self._events):
            assert time.monotonic() < deadline_s, f"{url} is not loaded"
            try:
                self._note(self._receive(1.0))
            except WebSocketTimeoutException:
                continue

    def value(self, expression: str) -> Any:
        """What an expression is in the page; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until an expression is true in the page; fail when it takes too long."""
        deadline_s = time.monotonic() + timeout_s
        while not self.value(expression):
            assert time.monotonic() < deadline_s, f"not true: {expression}"
            time.sleep(0.05)

    def busy_s(self) -> float:
        """Processor time of the page's main thread since it was opened: parsing, layout, scripts, painting."""
        metrics = self.call("Performance.getMetrics")["metrics"]
        return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))

    def press(self, key: str, code: int) -> None:
        """One key, by its DOM name and its number."""
        for kind in ("keyDown", "keyUp"):
            text = "\r" if key == "Enter" and kind == "keyDown" else ""
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def resize(self, width: int, height: int) -> None:
        """The window's size in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, file: Path | str) -> None:
        """What the window shows, as PNG."""
        Path(file).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def accessible(self, role: str, name: str) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader is told of, once `role` with `name` is there.

        The browser builds this tree after the page is loaded; until it has, parts are missing.
        """
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            nodes = [node for node in self.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
            found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes]
            if (role, name) in found:
                return found
            assert time.monotonic() < deadline_s, f"no {role} {name!r} in {found}"
            time.sleep(0.05)


def _is_load(event: Json, loader: str) -> bool:
    """Whether it is the load event of the navigation with this loader."""
    parameters = event.get("params", {})
    return (event["method"], parameters.get("name"), parameters.get("loaderId")) == (
        "Page.lifecycleEvent",
        "load",
        loader,
    )
