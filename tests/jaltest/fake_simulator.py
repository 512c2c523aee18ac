"""A stand-in for ``python -m jalsoc.sim run``: its options and events, and a fake device.

Run as a script. ``JALTEST_SIMULATOR`` names a fault: ``broken`` (building fails), ``silent`` (ends
without a word), ``slow`` (few tokens per second), ``building`` (for ten minutes), ``stubborn``
(does not quit when asked).
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
import tty
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jalgateware.contract.config import EngineConfig
from jalgateware.contract.memory_map import IMAGE_OFFSET
from jaltest.bridge import serve
from jaltest.device import CLOCK_HZ, FINGERPRINT, FakeDevice
from jaltest.etherbone import EtherboneBridge, serve_etherbone

FAULT = os.environ.get("JALTEST_SIMULATOR", "")


class SlowDevice(FakeDevice):
    """Takes its time for each token."""

    def look(self) -> None:
        if FAULT in ("slow", "stubborn") and self.run:
            time.sleep(0.05)
        super().look()


def emit(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("describe", "run"))
    parser.add_argument("--dram", default="ddr3x16")
    parser.add_argument("--clock-hz", type=int, default=CLOCK_HZ)
    parser.add_argument("--attached", action="store_true")
    parser.add_argument("--engine", default="{}")
    parser.add_argument("--dram-mib", type=int, default=32)
    parser.add_argument("--preload", type=Path)
    parser.add_argument("--pty", action="store_true")
    parser.add_argument("--link", choices=("uart", "eth"), default="uart")
    options = parser.parse_args()
    if options.command == "describe":
        describe(json.loads(options.engine), options.dram)
        return
    if FAULT == "silent":
        print("it went wrong", file=sys.stderr)
        sys.exit(1)
    emit("build", step="gateware", state="start", seconds=0, cached=False)
    emit("build", step="gateware", state="done", seconds=0, cached=True)
    emit("build", step="simulator", state="start", seconds=0, cached=False)
    if FAULT == "broken":
        emit("error", kind="BuildError", what="verilator failed", hint="see the log", log="/x.log")
        sys.exit(7)
    time.sleep(600 if FAULT == "building" else 0.2)
    emit("build", step="simulator", state="done", seconds=1, cached=False)
    if FAULT == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    fake = SlowDevice(
        config=EngineConfig(**json.loads(options.engine)),
        simulated=True,
        dram_bytes=options.dram_mib << 20,
        tokens_per_look=1,
    )
    if options.preload:
        data = options.preload.read_bytes()
        fake.dram[IMAGE_OFFSET // 4 :][: len(data) // 4] = np.frombuffer(data, dtype="<u4")
    pty = None
    if options.pty:
        master, slave = os.openpty()
        tty.setraw(slave)
        pty = os.ttyname(slave)
        serve(fake, lambda: os.read(master, 4096), lambda answer: os.write(master, answer))
    udp = {}
    if options.link == "eth":
        udp["udp"] = list(serve_etherbone(EtherboneBridge(fake))[1])
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(server, fake), daemon=True).start()
    emit(
        "ready",
        tcp=list(server.getsockname()),
        pty=pty,
        **udp,
        clock_hz=CLOCK_HZ,
        fingerprint=f"{FINGERPRINT:016x}",
        pid=os.getpid(),
    )
    for line in sys.stdin:
        if line.strip() == "quit" and FAULT != "stubborn":
            return
    while FAULT == "stubborn":
        time.sleep(1)


def describe(engine: dict[str, Any], dram: str) -> None:
    """As the simulator does it: this DRAM wants 32 lanes, and there is no other."""
    if dram != "ddr3x16":
        emit("error", kind="UsageError", what=f"there is no DRAM {dram!r}", hint="choose another")
        sys.exit(2)
    config = EngineConfig(**({"lanes": 32} | engine))
    emit("system", engine=asdict(config), dram=dram)


def accept(server: socket.socket, fake: FakeDevice) -> None:
    connection, _ = server.accept()
    serve(fake, lambda: connection.recv(4096), connection.sendall)


if __name__ == "__main__":
    main()
