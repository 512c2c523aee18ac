"""BAR 0 by sysfs, on trees of files that look like it."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jalgateware.contract import pcie
from jalgateware.contract.memory_map import (
    CSR_ORIGIN,
    FINGERPRINT_ADDRESS,
    MAILBOX,
    MAIN_RAM_ORIGIN,
)
from jalhost.cli.main import app
from jalhost.engine.targets import open_target
from jalhost.errors import DeviceError, LinkError, UsageError
from jalhost.links import pcie_bar
from jalhost.links.pcie_bar import choose_device, full_address, open_pcie, rescan
from jaltest.pcie import FakeSysfs

FIRST, SECOND = "0000:03:00.0", "0001:41:00.0"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSysfs:
    """An empty bus, which targets and commands find, too."""
    fake = FakeSysfs(tmp_path / "pci")
    monkeypatch.setattr(pcie_bar, "SYSFS", fake.root)
    return fake


def words(folder: Path, offset: int, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", (folder / "resource0").read_bytes(), offset)


def test_words_lie_where_the_contract_says(tree: FakeSysfs) -> None:
    folder = tree.add(FIRST)
    link = open_pcie(sysfs=tree.root)
    assert link.description == FIRST
    link.write(CSR_ORIGIN + 0x804, [1])
    link.write(MAILBOX.origin + 8, [2, 3])
    link.write(MAIN_RAM_ORIGIN + 3 * pcie.DRAM_WINDOW.size + 16, [4, 5, 6])
    assert link.read(MAILBOX.origin + 8, 2) == [2, 3]
    link.close()
    assert words(folder, 0x804, 1) == (1,)
    assert words(folder, 0x10008, 2) == (2, 3)
    assert words(folder, pcie.WINDOW_BASE - CSR_ORIGIN, 1) == (3 * pcie.DRAM_WINDOW.size,)
    assert words(folder, 0x80010, 3) == (4, 5, 6)


@pytest.mark.parametrize("name", ["", "03:00.0", FIRST, "0000:03:00.0".upper()])
def test_a_device_is_found_by_any_name(tree: FakeSysfs, name: str) -> None:
    tree.add(FIRST)
    tree.add("0000:00:1f.0", vendor=0x8086, device=0x7024)
    assert choose_device(name, tree.root).address == FIRST


@pytest.mark.parametrize("device", pcie.DEVICE_IDS)
def test_all_of_litepcies_ids_are_known(tree: FakeSysfs, device: int) -> None:
    tree.add(FIRST, device=device)
    assert choose_device(sysfs=tree.root).ids == f"10ee:{device:04x}"


def test_several_devices_must_be_told_apart(tree: FakeSysfs) -> None:
    for address in (FIRST, SECOND):
        tree.add(address)
    message = f"2 PCIe devices: {FIRST}, {SECOND} .name one, for example pcie:{FIRST}"
    with pytest.raises(LinkError, match=message):
        choose_device(sysfs=tree.root)
    assert choose_device(SECOND, tree.root).address == SECOND


def test_no_device_is_explained(tree: FakeSysfs) -> None:
    with pytest.raises(LinkError, match=r"no PCIe device 10ee:7021, .*jalhost pcie rescan"):
        choose_device(sysfs=tree.root)
    with pytest.raises(LinkError, match=r"no PCIe device at 0000:05:00\.0"):
        choose_device("05:00.0", tree.root)


@pytest.mark.parametrize("name", ["5", "03:00", "03:00.9", "x:03:00.0", "/dev/ttyUSB0"])
def test_names_that_are_no_addresses_are_refused(name: str) -> None:
    with pytest.raises(LinkError, match="is no PCIe address"):
        full_address(name)


def test_other_devices_are_left_alone(tree: FakeSysfs) -> None:
    tree.add(FIRST, vendor=0x8086, device=0x1234)
    with pytest.raises(LinkError, match="is 8086:1234, none of 10ee:7021"):
        open_pcie(FIRST, tree.root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": 0x0004}, f"memory space of {FIRST} is disabled .echo 1 .*enable, or .*setpci"),
        ({"bar0_bytes": 0}, f"BAR 0 of {FIRST} has no address"),
        ({"bar0_bytes": 1 << 16}, "has 65,536 bytes, jalhost's has 1,048,576"),
    ],
)
def test_what_keeps_bar0_from_answering_is_named(
    tree: FakeSysfs, options: dict[str, Any], message: str
) -> None:
    tree.add(FIRST, **options)
    with pytest.raises(LinkError, match=message):
        open_pcie(FIRST, tree.root)


def test_missing_permission_names_the_remedy(
    tree: FakeSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tree.add(FIRST) / "resource0"

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(LinkError, match=r"not allowed to open .*resource0 \(sudo chown \$USER"):
        open_pcie(FIRST, tree.root)


def test_a_bar_that_cannot_be_mapped_is_explained(tree: FakeSysfs) -> None:
    path = tree.add(FIRST) / "resource0"
    path.write_bytes(bytes(4096))
    with pytest.raises(LinkError, match=r"cannot map .*lockdown"):
        open_pcie(FIRST, tree.root)
    path.unlink()
    with pytest.raises(LinkError, match=r"cannot open .*resource0: No such file"):
        open_pcie(FIRST, tree.root)


def test_all_ones_are_a_link_that_is_down(tree: FakeSysfs) -> None:
    folder = tree.add(FIRST, fill=b"\xff")
    link = open_pcie(FIRST, tree.root)
    with pytest.raises(LinkError, match=f"the PCIe link to {FIRST} is down: all reads return ones"):
        link.read(MAILBOX.origin)
    with (folder / "resource0").open("r+b") as file:
        file.write(bytes(8))  # the fingerprint
    # A register may be all ones.
    assert link.read(MAILBOX.origin) == [0xFFFFFFFF]
    link.close()


def test_rescan_removes_and_looks_again(tree: FakeSysfs) -> None:
    ours, other = tree.add(FIRST), tree.add(SECOND, vendor=0x8086)
    assert rescan(sysfs=tree.root) == [FIRST]
    assert (ours / "remove").read_text() == "1"
    assert (other / "remove").read_text() == ""
    assert (tree.root / "rescan").read_text() == "1"


def test_rescan_lets_bars_answer(tree: FakeSysfs) -> None:
    disabled, enabled = tree.add(FIRST, command=0), tree.add(SECOND)
    for folder in (disabled, enabled):
        (folder / "enable").write_text("")
    rescan(sysfs=tree.root)
    assert (disabled / "enable").read_text() == "1"
    assert (enabled / "enable").read_text() == ""


def test_a_device_that_vanishes_is_no_crash(tree: FakeSysfs) -> None:
    folder = tree.add(FIRST)
    (device,) = pcie_bar.our_devices(tree.root)
    for name in ("config", "resource"):
        (folder / name).unlink()
    assert not device.memory_enabled
    assert device.bar0_bytes == 0


def test_rescan_of_one_device(tree: FakeSysfs) -> None:
    first, second = tree.add(FIRST), tree.add(SECOND)
    rescan(SECOND, tree.root)
    assert (first / "remove").read_text() == ""
    assert (second / "remove").read_text() == "1"


def test_rescan_says_that_it_needs_root(tree: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(LinkError, match=r"only root may rescan .*\(sudo jalhost pcie rescan\)"):
        rescan(sysfs=tree.root)


def test_the_list_shows_what_each_board_is(tree: FakeSysfs) -> None:
    folder = tree.add(FIRST)
    with (folder / "resource0").open("r+b") as file:
        file.seek(FINGERPRINT_ADDRESS - CSR_ORIGIN)
        file.write(struct.pack("<2I", 0x01234567, 0x89ABCDEF))
    driver = tree.root / "drivers" / "litepcie"
    driver.mkdir(parents=True)
    (folder / "driver").symlink_to(driver)
    tree.add(SECOND, command=0)
    tree.add("0000:00:00.0", vendor=0x8086)
    result = CliRunner().invoke(app, ["pcie", "list", "--json"])
    first, second = json.loads(result.stdout)
    assert first == {
        "target": f"pcie:{FIRST}",
        "ids": "10ee:7024",
        "link": "5.0 GT/s PCIe x4",
        "driver": "litepcie",
        "state": "fingerprint 0123456789abcdef",
    }
    assert "memory space" in second["state"]
    text = CliRunner().invoke(app, ["pcie", "list"]).stdout
    assert f"pcie:{FIRST}" in text
    assert "driver litepcie" in text
    assert "no driver" in text


def test_an_empty_bus_is_no_error(tree: FakeSysfs) -> None:
    assert "no boards on the PCIe bus" in CliRunner().invoke(app, ["pcie", "list"]).stdout
    assert CliRunner().invoke(app, ["pcie", "list", "--json"]).stdout.strip() == "[]"
    assert "no boards" in CliRunner().invoke(app, ["pcie", "rescan"]).stdout


def test_targets_lists_boards(tree: FakeSysfs) -> None:
    tree.add(FIRST)
    rows = json.loads(CliRunner().invoke(app, ["targets", "--json"]).stdout)
    assert {"target": f"pcie:{FIRST}", "state": "board found", "what": "5.0 GT/s PCIe x4"} in rows


@pytest.mark.parametrize("name", ["pcie", f"pcie:{FIRST}"])
def test_a_board_that_is_another_build_is_refused(
    tree: FakeSysfs, tmp_path: Path, name: str
) -> None:
    tree.add(FIRST)
    soc = tmp_path / "soc.json"
    soc.write_text('{"fingerprint": "0123456789abcdef"}')
    message = f"{FIRST} is another build: its fingerprint is 0000000000000000"
    with pytest.raises(DeviceError, match=message), open_target(name, print, soc):
        pass


def test_boards_have_their_gateware(tree: FakeSysfs) -> None:
    with (
        pytest.raises(UsageError, match="gateware that it was built with"),
        open_target("pcie", print, gateware="lanes=32"),
    ):
        pass
