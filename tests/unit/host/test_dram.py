"""Reading DRAM over a link that damages what it carries."""

import pytest

from jalgateware.contract.memory_map import IMAGE_OFFSET
from jalhost.device import Device
from jalhost.dram import READINGS, DeviceDram
from jalhost.errors import LinkError
from jalhost.links.uartbone import UartBone
from jalhost.models.blob import build_blob
from jalhost.verify.golden import Golden
from jalhost.verify.report import Cause
from jalhost.verify.verify import Verifier
from jaltest.bridge import BridgeStream
from jaltest.device import FakeDevice
from jaltest.device_target import DeviceTarget
from jaltest.tiny import tiny_image

IMAGE = tiny_image()

DATA = bytes(range(256)) * 12


class Damaging(UartBone):
    """Inverts a bit of long readings, so many times."""

    times = 0

    def read(self, address: int, words: int = 1) -> list[int]:
        found = super().read(address, words)
        if self.times and words > 64:
            self.times -= 1
            found[3] ^= 1
        return found


@pytest.fixture
def parts() -> tuple[FakeDevice, Damaging, DeviceDram]:
    fake = FakeDevice()
    link = Damaging(BridgeStream(fake), retries=0)
    return fake, link, DeviceDram(Device(link, ready_timeout_s=0.05, patience_s=0.05))


def test_what_is_written_is_read(parts: tuple[FakeDevice, Damaging, DeviceDram]) -> None:
    fake, _, dram = parts
    dram.write(4096, DATA)
    assert dram.read(4096, len(DATA)) == DATA
    assert dram.read(4096 + 5, 1100) == DATA[5:1105]
    fake.dram[(IMAGE_OFFSET + 4096 + 1032) // 4] ^= 1 << 8
    expected = bytearray(DATA)
    expected[1033] ^= 1
    readings = dram.readings
    assert dram.content(4096, DATA) == expected
    assert dram.readings == readings + 1  # the other blocks fit their CRC
    assert dram.content(4096 + 1000, DATA[1000:1100]) == expected[1000:1100]
    assert dram.content(4096 + 10, DATA[10:20]) == DATA[10:20]
    assert dram.damaged == 0


def test_damaged_readings_are_counted_and_done_again(
    parts: tuple[FakeDevice, Damaging, DeviceDram],
) -> None:
    _, link, dram = parts
    dram.write(0, DATA)
    link.times = 3
    assert dram.read(0, len(DATA)) == DATA
    assert dram.damaged == 3
    link.times = READINGS
    with pytest.raises(LinkError, match="never fits the device's own CRC"):
        dram.read(0, len(DATA))


def test_damaged_writings_are_done_again(
    parts: tuple[FakeDevice, Damaging, DeviceDram],
) -> None:
    fake, _, dram = parts
    fake.corrupt.append((IMAGE_OFFSET + 8, 2))
    dram.write(0, DATA)
    assert dram.read(0, len(DATA)) == DATA
    assert dram.damaged == 2
    fake.corrupt.append((IMAGE_OFFSET + 8, 100))
    with pytest.raises(LinkError, match="does not get there"):
        dram.write(0, bytes(1024))


def test_whether_a_place_keeps_what_is_written(
    parts: tuple[FakeDevice, Damaging, DeviceDram],
) -> None:
    fake, _, dram = parts
    dram.write(0, DATA)
    assert dram.keeps(100)
    assert dram.read(0, len(DATA)) == DATA
    fake.corrupt.append((IMAGE_OFFSET + 64, 1000))
    assert not dram.keeps(100)


def test_dram_that_does_not_keep_a_weight() -> None:
    """Found, sent again, and found again: nothing else is worth looking at then."""
    fake = FakeDevice()
    link = Damaging(BridgeStream(fake), retries=0)
    target = DeviceTarget(Device(link, ready_timeout_s=0.05, patience_s=0.05))
    target.load(IMAGE)
    golden = Golden(IMAGE, fake.config)
    blob = build_blob(IMAGE, fake.config)
    _, address = golden.layout.matrices["0.value"]
    offset = blob.header.tape_offset + (address + 1) * fake.config.lanes + 4
    fake.dram[(IMAGE_OFFSET + offset) // 4] ^= 1 << 8
    fake.corrupt.append((IMAGE_OFFSET + offset, 1000))
    found = Verifier(target, IMAGE, lambda _: None).run("the one", 4, 0.0, 0)
    assert [stage.name for stage in found.stages] == ["weights"]
    (finding,) = found.findings
    place = finding.place
    assert (finding.cause, place.tensor, place.row) == (Cause.WEIGHTS, "0.value", 0)
    assert (place.column, place.bit) == (5, 0)
    assert "wrong again" in finding.hint
