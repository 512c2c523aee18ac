"""Etherbone over networks that lose, repeat and reorder."""

import itertools
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jalgateware.contract import etherbone, mailbox
from jalgateware.contract.memory_map import FINGERPRINT_ADDRESS
from jalgateware.golden.sampler import Sampling
from jalhost.device import Device
from jalhost.errors import LinkError, UsageError
from jalhost.links import etherbone_packet
from jalhost.links.etherbone import JUMP, WINDOW, EtherboneLink
from jalhost.links.open import open_link
from jalhost.models.blob import build_blob
from jaltest.bridge import Bridge
from jaltest.device import FakeDevice
from jaltest.etherbone import EtherboneBridge, Faults, SimulatedNetwork, serve_etherbone
from jaltest.tiny import tiny_image

WORDS = st.integers(0, (1 << 32) - 1)
SPACE = 1500
"""Words of memory that the random accesses are about: they overlap."""

PATIENCE_S = 30.0
"""In the network's time, where every third request may be lost."""

FAULTS = st.builds(
    Faults,
    seed=st.integers(0, 1 << 20),
    lose=st.sampled_from([0.0, 0.05, 0.2]),
    repeat=st.sampled_from([0.0, 0.05, 0.3]),
    delay=st.sampled_from([0.0, 0.05, 0.5]),
)

ACCESSES = st.lists(
    st.tuples(st.booleans(), st.integers(0, SPACE), st.integers(1, SPACE), WORDS), max_size=20
)


def connect(network: SimulatedNetwork, timeout_s: float = 2.0) -> EtherboneLink:
    return EtherboneLink(network, timeout_s, network.clock)


@given(ACCESSES, FAULTS)
@settings(max_examples=40)
def test_accesses_are_exact_and_in_order(
    accesses: list[tuple[bool, int, int, int]], faults: Faults
) -> None:
    """Each access sees what those before it wrote, whatever is still on the way."""
    bridge = EtherboneBridge(Bridge())
    link = connect(SimulatedNetwork(bridge, faults), PATIENCE_S)
    expected = [0] * (2 * SPACE)
    for is_write, place, count, value in accesses:
        if is_write:
            values = [value ^ i for i in range(count)]
            link.write(4 * place, values)
            expected[place : place + count] = values
        else:
            assert link.read(4 * place, count) == expected[place : place + count]
    assert link.read(0, len(expected)) == expected
    numbers = bridge.executed
    assert all(etherbone.follows(b, a) for a, b in itertools.pairwise(numbers))


@given(FAULTS)
@settings(max_examples=10)
def test_device_gets_each_command_once(faults: Faults) -> None:
    """Loading and running an image gives the same commands and tokens as on a good network."""
    outcomes = []
    for network_faults in (Faults(), faults):
        device = FakeDevice()
        bridge = EtherboneBridge(device)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.sleep", lambda _: None)
            host = Device(connect(SimulatedNetwork(bridge, network_faults), PATIENCE_S))
            host.transfer_image(build_blob(tiny_image(), device.config), lambda _: None)
            host.load()
            runs = [host.run([[1, 260]], 20, Sampling(0, seed)) for seed in (1, 2)]
            tokens = [[entry.token for entry in run] for run in runs]
        outcomes.append((device.commands, tokens))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0].count(mailbox.Command.RUN) == 2


def test_late_repetition_does_not_undo_a_newer_write() -> None:
    bridge = EtherboneBridge(Bridge())
    network = SimulatedNetwork(bridge)
    link = connect(network)
    link.write(0x100, [1])
    old = network.sent[-1]
    link.write(0x100, [2])
    assert bridge.feed(old) is None
    assert link.read(0x100) == [2]


def test_requests_are_under_way_together() -> None:
    network = SimulatedNetwork(EtherboneBridge(Bridge()))
    link = connect(network)
    start = network.now
    link.write(0, range(4 * WINDOW * etherbone.MAX_WRITE))
    round_trip = 2 * network.LATENCY_S
    assert network.now - start == pytest.approx(4 * round_trip)


def test_lost_packet_is_noticed_by_later_answers() -> None:
    """Not by the time that an answer may take."""
    network = SimulatedNetwork(EtherboneBridge(Bridge()))
    link = connect(network)
    copies = iter([[], *[[False]] * 1000])
    network.faults.copies = lambda: next(copies)  # type: ignore[method-assign]  # the first is lost
    start = network.now
    values = list(range(3 * WINDOW * etherbone.MAX_READ))
    link.write(0, values)
    assert network.now - start < 6 * 2 * network.LATENCY_S
    assert link.read(0, len(values)) == values


@pytest.mark.parametrize("last", [0, (1 << 32) - JUMP - 3, (1 << 32) - JUMP, (1 << 31) + 5])
def test_numbers_go_on_from_the_devices(last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They wrap, and leave out 0."""
    monkeypatch.setattr("random.getrandbits", lambda _: 0)
    bridge = EtherboneBridge(Bridge(), last)
    link = connect(SimulatedNetwork(bridge))
    for value in range(8):
        link.write(0, [value])
        assert link.read(0) == [value]
    assert bridge.executed[0] in ((last + JUMP + 1) % (1 << 32), 1)
    assert len(bridge.executed) == 16
    assert 0 not in bridge.executed


def test_device_may_start_again_meanwhile() -> None:
    bridge = EtherboneBridge(Bridge(), 3 << 30)
    link = connect(SimulatedNetwork(bridge))
    link.write(0, [5])
    bridge.last = None
    assert link.read(0) == [5]


def test_of_two_programs_the_newer_has_the_device() -> None:
    bridge = EtherboneBridge(Bridge())
    older = connect(SimulatedNetwork(bridge))
    older.write(0, [1])
    newer = connect(SimulatedNetwork(bridge))
    assert newer.read(0) == [1]
    with pytest.raises(LinkError, match=r"no answer from network .* no other program"):
        older.write(0, [3])
    assert newer.read(0) == [1]


def test_silence_is_reported() -> None:
    network = SimulatedNetwork(EtherboneBridge(Bridge()))
    link = connect(network)
    network.faults.lose = 1.0
    before = len(network.sent)
    with pytest.raises(
        LinkError, match=r"no answer from network within 2 s \(is the board powered"
    ):
        link.read(0, 600)
    assert network.now < 3
    assert 7 < len(network.sent) - before < 40  # it tried, but did not flood the network


def test_packets_are_those_of_litex() -> None:
    remote = pytest.importorskip("litex.tools.remote.etherbone")
    record = remote.EtherboneRecord()
    record.writes = remote.EtherboneWrites(base_addr=0x4000_0000, datas=[1, 0xFFFF_FFFF])
    record.reads = remote.EtherboneReads(base_ret_addr=77, addrs=[0x1000, 0xF000_0000])
    packet = remote.EtherbonePacket()
    packet.records = [record]
    packet.encode()
    addresses = [0x1000, 0xF000_0000]
    ours = etherbone_packet.request(0, 77, 0x4000_0000, [1, 0xFFFF_FFFF], addresses)
    assert ours == bytes(packet.bytes)


def test_requests_that_only_write_or_only_read() -> None:
    bridge = EtherboneBridge(Bridge())
    assert bridge.feed(etherbone_packet.request(0, 1, 8, [5, 6], ())) is None
    answer = bridge.feed(etherbone_packet.request(0, 77, 0, (), [12, 8]))
    assert answer
    assert etherbone_packet.parse_answer(answer) == (77, (6, 5))


def test_answers_are_those_of_litex() -> None:
    remote = pytest.importorskip("litex.tools.remote.etherbone")
    record = remote.EtherboneRecord()
    record.writes = remote.EtherboneWrites(base_addr=77, datas=[3, 4, 5])
    packet = remote.EtherbonePacket()
    packet.records = [record]
    packet.encode()
    answer = bytes(packet.bytes)
    assert etherbone_packet.parse_answer(answer) == (77, (3, 4, 5))
    for damaged in (b"", answer[:-4], answer[:-1], b"x" + answer[1:], answer + bytes(4)):
        assert etherbone_packet.parse_answer(damaged) is None


@pytest.fixture
def board() -> Iterator[tuple[EtherboneBridge, str]]:
    """A device on a UDP port, and the link's name."""
    bridge = EtherboneBridge(Bridge({FINGERPRINT_ADDRESS: 7}))
    server, (host, port) = serve_etherbone(bridge)
    yield bridge, f"eth:{host}:{port}"
    server.close()


def test_over_a_socket(board: tuple[EtherboneBridge, str]) -> None:
    _, name = board
    link = open_link(name)
    assert name == f"eth:{link.description}"
    values = list(range(20_000))
    link.write(0, values)
    assert link.read(0, len(values)) == values
    link.close()
    link.close()


def test_nobody_listens_any_more() -> None:
    """Known long before the time for a silent device is over."""
    network = SimulatedNetwork(EtherboneBridge(Bridge()))
    link = connect(network, PATIENCE_S)
    network.faults.lose = 1.0
    network.refused = True
    with pytest.raises(LinkError, match="nobody listens on UDP port network"):
        link.read(0)
    assert network.now < 2


def test_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(LinkError, match=rf"nobody listens on UDP port 127\.0\.0\.1:{port} \(is"):
        open_link(f"eth:127.0.0.1:{port}", 0.2)


def test_silent_host() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(LinkError, match=rf"no answer from 127\.0\.0\.1:{port} within 0\.2 s"):
            open_link(f"eth:127.0.0.1:{port}", 0.2)


def test_unknown_host() -> None:
    with pytest.raises(LinkError, match=r"cannot reach no\.such\.host\.invalid:1234: "):
        open_link("eth:no.such.host.invalid")


@pytest.mark.parametrize("name", ["", ":1234", "host:", "host:port", "host:70000", "host:0"])
def test_names_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not HOST or HOST:PORT"):
        open_link(f"eth:{name}")
