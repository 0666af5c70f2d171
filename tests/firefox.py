"""Firefox, steered in its own words (WebDriver BiDi), for which no further program is needed.

Source: W3C, WebDriver BiDi, https://www.w3.org/TR/webdriver-bidi/.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import pytest

PROGRAMS = ("firefox-esr", "firefox")
WIDTH, HEIGHT = 1300, 1000
_PATIENCE_SECONDS = 120  # to start; the machine may be busy
# OpenGL on the processor, and nothing asked for of anybody
_PREFERENCES = {"webgl.force-enabled": True, "app.normandy.enabled": False, "app.update.auto": False}


class Firefox:
    """A window of Firefox on a display of its own.

    Parameters
    ----------
    folder
        For its profile and what it says.

    Attributes
    ----------
    events
        What it has told of the page: entries of the console, requests.
    """

    def __init__(self, folder: Path) -> None:
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None or shutil.which("xvfb-run") is None:
            pytest.skip("needs Debian's packages firefox-esr, xvfb and xauth")
        websocket = pytest.importorskip("websocket")
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _PREFERENCES.items()]
        (folder / "user.js").write_text("\n".join(lines))
        said = folder / "said.txt"
        words = ["xvfb-run", "-a", "-s", f"-screen 0 {WIDTH}x{HEIGHT}x24", program, "--no-remote", "--profile", str(folder)]
        environment = {**os.environ, "HOME": str(folder), "LIBGL_ALWAYS_SOFTWARE": "1"}
        with said.open("w") as file:
            self._process = subprocess.Popen(
                [*words, "--remote-debugging-port", "0"], stdout=file, stderr=file, env=environment, start_new_session=True
            )
        self.events: list[dict[str, Any]] = []
        self._count = 0
        try:
            self._socket = websocket.create_connection(
                f"{self._address(said)}/session", suppress_origin=True, timeout=_PATIENCE_SECONDS
            )
            self.do("session.new", capabilities={})
            self.do("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
            self._page = self.do("browsingContext.getTree")["contexts"][0]["context"]
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._end()

    def _end(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()

    def _address(self, said: Path) -> str:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (found := re.search(r"BiDi listening on (ws://\S+)", said.read_text())) is None:
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.1)
        return found[1]

    def do(self, method: str, **parameters: object) -> Any:
        """The result of a command; what comes in between are events."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv())).get("id") != self._count:
            self.events.append(answer)
        assert answer["type"] == "success", answer
        return answer["result"]

    def open(self, path: Path) -> None:
        """Open a file from disk."""
        self.do("browsingContext.navigate", context=self._page, url=path.as_uri(), wait="complete")

    def run(self, script: str) -> Any:
        """What an expression gives, or its promise, by way of JSON."""
        expression = f"Promise.resolve({script}).then((value) => JSON.stringify(value ?? null))"
        done = self.do("script.evaluate", expression=expression, target={"context": self._page}, awaitPromise=True)
        assert done["type"] == "success", done["exceptionDetails"]["text"]
        return json.loads(done["result"]["value"])

    def click(self, x: float, y: float) -> None:
        """Press and release the mouse at a place of the window, pixels."""
        moved = {"type": "pointerMove", "x": round(x), "y": round(y)}
        pressed, released = ({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))
        mouse = {"type": "pointer", "id": "mouse", "actions": [moved, pressed, released]}
        self.do("input.performActions", context=self._page, actions=[mouse])

    def complaints(self) -> list[str]:
        """Errors and warnings in the console."""
        entries = [event["params"] for event in self.events if event["method"] == "log.entryAdded"]
        return [entry["text"] for entry in entries if entry["level"] in ("error", "warn")]

    def requested(self) -> list[str]:
        """Addresses that were asked for."""
        return [event["params"]["request"]["url"] for event in self.events if event["method"] == "network.beforeRequestSent"]
