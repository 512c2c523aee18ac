"""The sensor bus of a device: I2C transfers by its registers."""

import time

from jalgateware.contract import sensors
from jalgateware.contract.sensors import BusCommand, BusRegister, BusStatus
from jalhost.device import Device
from jalhost.errors import DeviceError, LinkError
from jalhost.links.link import Link

WAIT_S = 10.0
"""Longest wait for a transfer: gateware gives up sooner by itself, but a simulation is slow."""


class I2cBus:
    """The sensor bus behind a link.

    Several objects may use one device's bus, also in threads: transfers do not mix, and who needs
    several of them together holds ``lock``.

    Args:
        device: whose bus it is.

    Raises:
        DeviceError: this gateware has no sensor bus.
    """

    def __init__(self, device: Device) -> None:
        self._link: Link = device.link
        self.lock = device.sensor_lock
        number = sensor_set_number(device)
        if number is None:
            raise DeviceError(
                f"the gateware of {self._link.description} has no sensor bus",
                "simulate with --gateware sensors=1, or build the board with --with-sensors",
            )
        self.set_number = number

    @property
    def description(self) -> str:
        """What messages call it."""
        return f"the sensor bus of {self._link.description}"

    def read_word(self, address: int, register: int, big_endian: bool = True) -> int:
        """Two bytes of a chip's register; ``big_endian``: the more significant one comes first.

        Raises:
            DeviceError: nobody answers, or the bus is stuck.
        """
        data = self.transfer(address, bytes([register]), 2)
        return int.from_bytes(data, "big" if big_endian else "little")

    def transfer(self, address: int, sent: bytes, wanted: int = 0) -> bytes:
        """Sends bytes, and then reads some without giving the bus up.

        Raises:
            DeviceError: nobody answers, or the bus is stuck.
            LinkError: the link does not work, or the bus's gateware does not.
        """
        assert wanted <= sensors.RECEIVED_BYTES
        assert len(sent) + wanted + 2 <= sensors.QUEUE
        words = [1 << BusCommand.START | address << 1] if sent else []
        words += sent
        if wanted:
            more = 1 << BusCommand.READ | 1 << BusCommand.ACKNOWLEDGE
            words += [1 << BusCommand.START | address << 1 | 1]
            words += [more] * (wanted - 1) + [1 << BusCommand.READ]
        words[-1] |= 1 << BusCommand.STOP
        with self.lock:
            status, received = self._run(words)
            if status >> BusStatus.STUCK & 1:
                self._recover()
                status, received = self._run(words)
        self._check(status, address)
        return received.to_bytes(sensors.RECEIVED_BYTES, "big")[sensors.RECEIVED_BYTES - wanted :]

    def _run(self, words: list[int]) -> tuple[int, int]:
        """Carries commands out; returns status and what was received."""
        self._link.write(sensors.BUS_ADDRESS + BusRegister.CLEAR, [1])
        for word in words:
            self._link.write(sensors.BUS_ADDRESS + BusRegister.COMMAND, [word])
        deadline = time.monotonic() + WAIT_S
        while True:
            # The status is read first: what is received with it is complete if it is not busy.
            status, received = self._link.read(sensors.BUS_ADDRESS + BusRegister.STATUS, 2)
            if not status >> BusStatus.BUSY & 1:
                return status, received
            if time.monotonic() > deadline:
                raise LinkError(
                    f"{self.description} does not finish", "reset the board, and try again"
                )

    def _recover(self) -> None:
        """Nine clocks, with which a chip that was left in the middle of a byte gets to its end."""
        self._run([1 << BusCommand.READ | 1 << BusCommand.STOP])

    def _check(self, status: int, address: int) -> None:
        if status >> BusStatus.STUCK & 1:
            levels = {"SCL": BusStatus.SCL, "SDA": BusStatus.SDA}
            low = [name for name, bit in levels.items() if not status >> bit & 1]
            what = f"{' and '.join(low)} held low" if low else "a line was held low"
            raise DeviceError(
                f"{self.description} is stuck: {what}",
                "power the board off and on; a sensor or something else on the bus hangs",
            )
        if status >> BusStatus.NACK & 1:
            raise DeviceError(
                f"nobody answers at address {address:#04x} on {self.description}",
                "check the address in --meter, and what the board has",
            )


def sensor_set_number(device: Device) -> int | None:
    """Which sensors a device has on its bus (:data:`sensors.SENSOR_SETS`); None without a bus."""
    (identity,) = device.link.read(sensors.BUS_ADDRESS + BusRegister.IDENTITY)
    return identity & 0xFF if identity >> 8 == sensors.BUS_IDENTITY else None


def signed(value: int, bits: int) -> int:
    """A number in two's complement."""
    return value - (1 << bits) if value >> (bits - 1) & 1 else value
