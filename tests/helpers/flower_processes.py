"""A real Flower server and real clients, in processes of their own on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

APP = Path(__file__).parents[2] / "examples" / "federated"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(true: Callable[[], object], what: str, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what} took longer than {seconds} s"
        time.sleep(0.05)


class Federation:
    """A SuperLink, and SuperNodes that come and go.

    Args:
        place: an empty folder, for everything that they write.
        settings: the app's run config.
    """

    def __init__(self, place: Path, settings: Mapping[str, Any]) -> None:
        self.place, self._settings, self._port = place, settings, free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        home = place / "home"
        home.mkdir(parents=True)
        link = f'address = "127.0.0.1:{self._port}"\ninsecure = true\n'
        (home / "config.toml").write_text(f'[superlink]\ndefault = "here"\n\n[superlink.here]\n{link}')
        self._start("superlink", sys.executable, "--host", "127.0.0.1", "--port", str(self._port),
                    "--disable-runtime-dependency-installation")  # fmt: skip
        wait_for(self._is_up, "the server's start")

    def node(self, number: int, of: int, python: str = sys.executable) -> subprocess.Popen[bytes]:
        """Starts a client by a Python that has Flower."""
        config = f"partition-id={number} num-partitions={of}"
        address = f"127.0.0.1:{self._port}"
        return self._start("supernode", python, "--superlink", address, "--port", str(free_port()),
                           "--node-config", config)  # fmt: skip

    def run(self) -> subprocess.Popen[bytes]:
        """Starts the app; the process ends when the run does."""
        config = " ".join(f"{key}={_toml(value)}" for key, value in self._settings.items())
        command = [_script(sys.executable, "flwr"), "run", str(APP), "here", "--stream", "--run-config", config]
        return self._spawn("run", command)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """As a power cut would, with all that it has started."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                self.kill(process)

    def said(self) -> str:
        """All that the processes wrote."""
        return "\n".join(f"-- {log.name}\n{log.read_text(errors='replace')}" for log in self.place.glob("*.log"))

    def _start(self, name: str, python: str, *options: str) -> subprocess.Popen[bytes]:
        return self._spawn(name, [_script(python, f"flower-{name}"), "--insecure", *options])

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        log = self.place / f"{name}-{len(self._processes)}.log"
        quiet = {"FLWR_HOME": str(self.place / "home"), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        folder = str(Path(command[0]).parent)
        environment = {**os.environ, **quiet, "PATH": f"{folder}:{os.environ['PATH']}"}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, stdout=stream, stderr=stream, env=environment, cwd=self.place, start_new_session=True
            )
        self._processes.append(process)
        return process

    def _is_up(self) -> bool:
        assert self._processes[0].poll() is None, self.said()
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=1).status == 200)
        except OSError:
            return False


def _script(python: str, name: str) -> str:
    return str(Path(python).parent / name)


def _toml(value: object) -> str:
    return f"'{value}'" if isinstance(value, (str, Path)) else str(value)
