"""A labgrid farm on this computer: coordinator, exporter, and one place."""

import os
import subprocess
import sys
import time
from pathlib import Path

from jalhost.engine.farm import find_client
from jaltest.litex_server import free_port

START_TIMEOUT_S = 180.0

PLACE = "bench"


class Farm:
    """A farm with a place that has what an exporter exports.

    Args:
        folder: for its files.
        resources: of the exporter, in its YAML.
    """

    def __init__(self, folder: Path, resources: str) -> None:
        self.bin = Path(find_client()).parent
        self.env = os.environ | {"LG_COORDINATOR": f"127.0.0.1:{free_port()}"}
        self._processes: list[subprocess.Popen[bytes]] = []
        programs = folder / "programs"
        programs.mkdir()
        ser2net = programs / "ser2net"
        ser2net.write_text(f'#!/bin/sh\nexec {sys.executable} -m jaltest.ser2net "$@"\n')
        ser2net.chmod(0o755)
        (folder / "exporter.yaml").write_text(f"group:\n{resources}")
        paths = {
            "PATH": f"{programs}{os.pathsep}{self.env['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        coordinator = self.env["LG_COORDINATOR"]
        try:
            self._run(folder, "labgrid-coordinator", ["-l", coordinator], "ready", self.env)
            options = ["-n", "lab", "--hostname", "127.0.0.1", str(folder / "exporter.yaml")]
            self._run(folder, "labgrid-exporter", options, "Exporter ready", self.env | paths)
            self.client("create")
            self.client("add-match", "lab/group/*")
        except BaseException:
            self.close()
            raise

    def _run(
        self, folder: Path, name: str, options: list[str], ready: str, env: dict[str, str]
    ) -> None:
        log = folder / f"{name}.log"
        with log.open("wb") as output:
            self._processes.append(
                subprocess.Popen(
                    [self.bin / name, *options],
                    cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while ready.lower() not in log.read_text().lower():
            assert self._processes[-1].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def client(self, *arguments: str, user: str = "") -> str:
        """What labgrid's client prints for the place."""
        run = subprocess.run(
            [self.bin / "labgrid-client", "-p", PLACE, *arguments],
            env=self.env | ({"LG_USERNAME": user} if user else {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    @property
    def holder(self) -> str:
        """Who has the place, as host/user; empty if nobody does."""
        lines = [line.strip() for line in self.client("show").splitlines()]
        value = next(line.removeprefix("acquired:") for line in lines if "acquired:" in line)
        return value.strip().removeprefix("None")

    def close(self) -> None:
        """Ends it."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
        self._processes.clear()
