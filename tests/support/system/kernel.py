"""A Jupyter kernel in which tests run cells."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyter_client.manager import KernelManager

import lambdamap

_HANG_S = 60


class Shown:
    """The output of one cell: its streams, rich outputs and error."""

    def __init__(self) -> None:
        self.stdout = ""
        self.stderr = ""
        self.data: list[Mapping[str, Any]] = []
        self.widgets = ""  # every state of them
        self.error: list[str] = []  # name, value, traceback

    def take(self, message: Mapping[str, Any]) -> None:
        content = message["content"]
        kind = message["msg_type"]
        if kind == "stream" and content["name"] == "stdout":
            self.stdout += content["text"]
        elif kind == "stream":
            self.stderr += content["text"]
        elif kind in ("execute_result", "display_data"):
            self.data.append(content["data"])
        elif kind in ("comm_open", "comm_msg"):
            self.widgets += repr(content["data"])
        elif kind == "error":
            self.error = [content["ename"], content["evalue"], "\n".join(content["traceback"])]

    @property
    def html(self) -> str:
        return "".join(data.get("text/html", "") for data in self.data)

    @property
    def text(self) -> str:
        return "".join(data.get("text/plain", "") for data in self.data)


class Kernel:
    """A kernel started in a folder, whose modules it can import."""

    def __init__(self, folder: Path, **environment: str) -> None:
        package = str(Path(lambdamap.__file__).parents[1])
        inherited = os.environ.get("PYTHONPATH", "")
        self._manager = KernelManager(
            kernel_name="python3", transport="ipc", ip=str(folder / "ipc")
        )
        self._manager.start_kernel(
            cwd=str(folder),
            env={
                **os.environ,
                "IPYTHONDIR": str(folder / ".ipython"),
                "PYTHONPATH": os.pathsep.join(filter(None, [package, inherited])),
                **environment,
            },
        )
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_HANG_S)

    def run(self, code: str, look: Callable[[Kernel, Shown], Any] | None = None) -> Shown:
        """Run a cell to its end. look is called after each of its messages."""
        shown = Shown()

        def take(message: Mapping[str, Any]) -> None:
            shown.take(message)
            if look is not None:
                look(self, shown)

        self._client.execute_interactive(
            code, output_hook=take, timeout=_HANG_S, store_history=True
        )
        return shown

    def interrupt(self) -> None:
        """Do what the stop button does: send the signal to the kernel and its children. Any thread.

        The manager's own method would create an event loop.
        """
        os.killpg(os.getpgid(self._manager.provisioner.pid), signal.SIGINT)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
