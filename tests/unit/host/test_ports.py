"""Finding a board's port, its latency timer, and ports that go away and come back."""

import os
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jalgateware.contract.memory_map import IDENTIFIER_ADDRESS
from jalhost.errors import LinkError, UsageError
from jalhost.links import open as opening
from jalhost.links import serial_port
from jalhost.links.latency import lower_latency
from jalhost.links.open import connect_uart, read_identifier
from jalhost.links.ports import Port, candidates, choose, is_selector
from jalhost.links.serial_port import SerialPort
from jaltest.bridge import serve
from jaltest.device import FINGERPRINT
from jaltest.uart import SerialDevice

BOARD = Port("/dev/ttyUSB1", 0x0403, 0x6010, "FT1234", "Dual RS232", "1-2:1.1")
CONSOLE = Port("/dev/ttyUSB0", 0x0403, 0x6010, "FT1234", "Dual RS232", "1-2:1.0")
OTHER = Port("/dev/ttyACM0", 0x1A86, 0x55D4, "987")
FIXED = Port("/dev/ttyS0")
PORTS = [OTHER, FIXED, CONSOLE, BOARD]


def test_selectors_are_told_from_ports() -> None:
    assert all(map(is_selector, ["", "SERIAL=FT1234", "0403:6010", "1a86:55D4"]))
    assert not any(map(is_selector, ["/dev/ttyUSB0", "COM3", "tcp://h:1", "403:6010"]))


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("", [OTHER, CONSOLE, BOARD]),
        ("SERIAL=FT1234", [CONSOLE, BOARD]),
        ("0403:6010", [CONSOLE, BOARD]),
        ("1A86:55d4", [OTHER]),
    ],
)
def test_candidates_are_adapters_that_fit(selector: str, found: list[Port]) -> None:
    assert candidates(selector, PORTS) == found


def test_nothing_that_fits_says_what_is_there() -> None:
    with pytest.raises(
        LinkError,
        match=r"no USB serial adapter with SERIAL=X is plugged in \(seen: /dev/ttyACM0 "
        r"\(1a86:55d4, SERIAL=987\); /dev/ttyS0; ",
    ):
        candidates("SERIAL=X", PORTS)
    with pytest.raises(LinkError, match=r"no USB serial adapter is plugged in \(there are no"):
        candidates("", [])
    with pytest.raises(UsageError, match="is not SERIAL="):
        candidates("ttyUSB0", PORTS)


def test_the_only_board_is_chosen() -> None:
    answers = {BOARD: "jalhost ECPIX-5 0123"}
    assert choose([CONSOLE, BOARD, OTHER], answers.get) == BOARD


def test_several_boards_are_listed() -> None:
    with pytest.raises(LinkError, match=r"several boards: .*ttyACM0.*: a; .*ttyUSB1.*: b \(choose"):
        choose([OTHER, BOARD], {OTHER: "a", BOARD: "b"}.get)


def test_no_board_says_where_was_looked() -> None:
    with pytest.raises(LinkError, match=r"no board of jalhost's answers on /dev/ttyACM0"):
        choose([OTHER], lambda _: None)


def test_an_adapter_is_known_wherever_it_is_plugged_in() -> None:
    moved = Port("/dev/ttyUSB7", 0x0403, 0x6010, "FT1234", "Dual RS232", "3-1.4:1.1")
    assert moved.is_same_adapter(BOARD)
    assert not moved.is_same_adapter(CONSOLE)


# Latency timers.


def timer(folder: Path, port: str, text: str) -> Path:
    path = folder / "bus/usb-serial/devices" / port / "latency_timer"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def never(_: bool) -> None:
    raise AssertionError("there is nothing to set")


def test_latency_timer_is_lowered(tmp_path: Path) -> None:
    path = timer(tmp_path, "ttyUSB5", "16\n")
    assert lower_latency("/dev/ttyUSB5", never, tmp_path) is None
    assert path.read_text() == "1"


def test_low_latency_timer_is_left_alone(tmp_path: Path) -> None:
    path = timer(tmp_path, "ttyUSB5", "1\n")
    path.chmod(0o444)
    assert lower_latency("/dev/ttyUSB5", never, tmp_path) is None
    assert path.read_text() == "1\n"


def test_ports_without_a_timer_are_left_alone(tmp_path: Path) -> None:
    assert lower_latency("/dev/ttyACM0", never, tmp_path) is None


@pytest.mark.parametrize("works", [True, False])
def test_low_latency_mode_is_the_second_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    path = timer(tmp_path, "ttyUSB5", "16\n")

    def refuse(self: Path, *_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", str(self))

    def set_mode(on: bool) -> None:
        assert on
        if not works:
            raise ValueError("not supported")
        with path.open("w") as file:
            file.write("1")

    monkeypatch.setattr(Path, "write_text", refuse)
    hint = lower_latency("/dev/ttyUSB5", set_mode, tmp_path)
    if works:
        assert hint is None
    else:
        assert hint == f"/dev/ttyUSB5 holds answers back for 16 ms: echo 1 | sudo tee {path}"


# Ports of this computer.


class Plug:
    """A pseudo terminal with a device behind it, which can be pulled out and put in elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.device = SerialDevice()
        for place, character in enumerate(b"jalhost bench\0"):
            self.device.memory[IDENTIFIER_ADDRESS + 4 * place] = character
        self.folder = folder
        self.ends: list[int] = []

    def put_in(self, name: str) -> str:
        """Plugs the device in; returns the port's name, a link as udev makes them."""
        master, slave = os.openpty()
        tty.setraw(slave)
        self.ends = [master, slave]
        path = self.folder / name
        path.symlink_to(os.ttyname(slave))
        serve(self.device, lambda: os.read(master, 4096), lambda data: os.write(master, data))
        return str(path)

    def pull_out(self, name: str) -> None:
        (self.folder / name).unlink()
        for descriptor in self.ends:
            os.close(descriptor)
        self.ends = []


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    plug = Plug(tmp_path)
    yield plug
    for descriptor in plug.ends:
        os.close(descriptor)


def listing(monkeypatch: pytest.MonkeyPatch, ports: Callable[[], list[Port]]) -> None:
    """What this computer has for ports."""
    for module in (serial_port, opening):
        monkeypatch.setattr(module, "list_ports", ports)


def test_board_is_found_by_its_adapter(plug: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    name = plug.put_in("usb0")
    listing(monkeypatch, lambda: [FIXED, Port(name, 0x0403, 0x6010, "FT1")])
    said: list[str] = []
    link, serial = connect_uart("SERIAL=FT1", said.append, FINGERPRINT)
    assert serial is link
    assert link.description == name
    assert read_identifier(link) == "jalhost bench"
    assert said == [f"found a board on {name} (0403:6010, SERIAL=FT1)"]
    link.close()
    with pytest.raises(LinkError, match="no board of jalhost's answers on"):
        connect_uart("", said.append, FINGERPRINT + 1)


def test_port_that_comes_back_elsewhere_goes_on(
    plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [plug.put_in("usb0")]
    listing(monkeypatch, lambda: [Port(names[-1], 0x0403, 0x6010, "FT1", location="1-1:1.0")])
    said: list[str] = []
    link, _ = connect_uart(names[0], said.append)
    link.write(0x4000_0000, [1, 2, 3])
    assert link.read(0x4000_0000, 3) == [1, 2, 3]
    plug.pull_out("usb0")

    def put_in_again() -> None:
        time.sleep(0.3)
        names.append(plug.put_in("usb1"))

    again = threading.Thread(target=put_in_again)
    again.start()
    assert link.read(0x4000_0000, 3) == [1, 2, 3]
    again.join()
    assert link.description == names[1]
    assert said == [
        f"lost {names[0]}: waiting 30 s for it to come back",
        f"{names[1]} is back; going on",
    ]
    link.close()


def test_port_that_stays_away_is_one_error(plug: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "RETURN_S", 0.5)
    link, _ = connect_uart(plug.put_in("usb0"), print)
    plug.pull_out("usb0")
    with pytest.raises(LinkError, match=r"did not come back within 0.5 s \(was the cable unplug"):
        link.read(0x4000_0000)
    link.close()


def test_rates_that_an_adapter_lacks_are_refused(
    plug: Plug, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = SerialPort(plug.put_in("usb0"))

    reconfigure = type(port._port)._reconfigure_port

    def refuse(self: Any, *arguments: Any, **options: Any) -> None:
        if self.baudrate == 3_000_000:
            raise ValueError("Failed to set custom baud rate")
        reconfigure(self, *arguments, **options)

    monkeypatch.setattr(type(port._port), "_reconfigure_port", refuse)
    with pytest.raises(ValueError, match="does not have 3000000 baud"):
        port.set_baud(3_000_000)
    port.set_baud(230_400)
    assert port.baud == 230_400
    port.close()
