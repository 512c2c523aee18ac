"""Stand-ins for what a board measures by: chips on the sensor bus, the XADC, and instruments."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from jalgateware.contract import sensors
from jalgateware.contract.sensors import BusCommand, BusRegister, BusStatus
from jalhost.device import Device
from jalhost.links.uartbone import UartBone
from jaltest.bridge import BridgeStream
from jaltest.device import FakeDevice

LINES_UP = 1 << BusStatus.SCL | 1 << BusStatus.SDA


class Chip(Protocol):
    """A chip on the bus."""

    def write(self, data: bytes) -> None:
        """Takes all bytes of a transfer."""

    def read(self, count: int) -> bytes:
        """Gives bytes."""


@dataclass
class Words:
    """Registers of 16 bits, the more significant byte first: an INA219 or INA226."""

    registers: dict[int, int]
    pointer: int = 0

    def write(self, data: bytes) -> None:
        self.pointer = data[0]

    def read(self, count: int) -> bytes:
        return self.registers.get(self.pointer, 0).to_bytes(2, "big")[:count]


@dataclass
class Pages:
    """A PMBus controller: by page and command, bytes as they come."""

    values: dict[tuple[int, int], bytes]
    page: int = 0
    command: int = 0

    def write(self, data: bytes) -> None:
        if data[0] == 0 and len(data) > 1:
            self.page = data[1]
        self.command = data[0]

    def read(self, count: int) -> bytes:
        return self.values[self.page, self.command][:count]


@dataclass
class SensorDevice(FakeDevice):
    """A device with a sensor bus.

    ``low``: lines that something holds low; ``frees``: after how many recoveries it lets go.
    """

    chips: dict[int, Chip] = field(default_factory=dict)
    sensor_set: str | None = "none"
    xadc: tuple[int, ...] = ()
    low: tuple[BusStatus, ...] = ()
    frees: int = 1 << 30
    never_ends: bool = False
    _commands: list[int] = field(default_factory=list)
    _status: int = 0
    _received: int = 0

    def load(self, address: int) -> int:
        index = (address - sensors.XADC_ADDRESS) // 4
        if self.xadc and 0 <= index < len(self.xadc):
            return self.xadc[index]
        offset = address - sensors.BUS_ADDRESS
        if self.sensor_set is not None and offset in list(BusRegister):
            return self._bus_register(offset)
        return super().load(address)

    def _bus_register(self, offset: int) -> int:
        if offset == BusRegister.IDENTITY:
            number = sensors.SENSOR_SETS.get(self.sensor_set or "")
            return sensors.BUS_IDENTITY << 8 | (number.number if number else 0xEE)
        if offset == BusRegister.STATUS:
            lines = LINES_UP & ~sum(1 << line for line in self.low)
            return self._status | lines | (self.never_ends << BusStatus.BUSY)
        return self._received if offset == BusRegister.RECEIVED else 0

    def store(self, address: int, value: int) -> None:
        offset = address - sensors.BUS_ADDRESS
        if self.sensor_set is None or offset not in list(BusRegister):
            super().store(address, value)
        elif offset == BusRegister.CLEAR:
            self._commands, self._status, self._received = [], 0, 0
        elif offset == BusRegister.COMMAND:
            self._commands.append(value)
            if value >> BusCommand.STOP & 1:
                self._transfer()

    def _transfer(self) -> None:
        """Plays the queued commands, of which the last one stops."""
        started = self._commands[0] >> BusCommand.START & 1
        if self.low:
            self._status |= 1 << BusStatus.STUCK
            if not started:
                self.frees -= 1
                self.low = () if self.frees <= 0 else self.low
            return
        chip: Chip | None = None
        sent, wanted = b"", 0
        for command in self._commands:
            byte = command & 0xFF
            if command >> BusCommand.START & 1:
                chip = self.chips.get(byte >> 1)
                if chip is None:
                    self._status |= 1 << BusStatus.NACK
                    return
                if sent:
                    chip.write(sent)
                    sent = b""
            elif command >> BusCommand.READ & 1:
                wanted += 1
            else:
                sent += bytes([byte])
        if chip and sent:
            chip.write(sent)
        if chip and wanted:
            self._received = int.from_bytes(chip.read(wanted), "big")


def connect(fake: FakeDevice) -> Device:
    """The host's view of it."""
    return Device(UartBone(BridgeStream(fake), retries=0), ready_timeout_s=0.05, patience_s=0.05)


@contextmanager
def plug(answers: dict[str, str | int]) -> Iterator[str]:
    """A web server that answers paths by texts, or by a status; gives its host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path, 404)
            self.send_response(answer if isinstance(answer, int) else 200)
            self.end_headers()
            self.wfile.write(answer.encode() if isinstance(answer, str) else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


INSTRUMENT = """
spec: "1.1"
devices:
  meter:
    eom:
      TCPIP INSTR: {q: "\\n", r: "\\n"}
    error: ERROR
    dialogues:
      - {q: "MEAS:NOTHING?", r: "9.91E37"}
      - {q: "MEAS:RES?", r: "12.5 OHM"}
      - {q: "MEAS:VOLT?", r: "5.0"}
      - {q: "MEAS:CURR?", r: "+2.5E-01"}
    properties:
      power:
        default: 1.25
        getter: {q: "MEAS:POW?", r: "{:.5f}"}
        setter: {q: "SET:POW {:.5f}", r: "OK"}
        specs: {min: -1000, max: 1000, type: float}
resources:
  TCPIP::meter::INSTR: {device: meter}
"""
"""A bench meter for pyvisa-sim."""

RESOURCE = "TCPIP::meter::INSTR"
