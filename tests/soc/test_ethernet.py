"""Etherbone in simulation: LiteEth's own stack behind a socket, and networks that are not good."""

import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jalgateware.contract import etherbone
from jalgateware.contract.config import STANDARD
from jalgateware.contract.memory_map import FINGERPRINT_ADDRESS, MAIN_RAM_ORIGIN, SCRATCH_OFFSET
from jalhost.cli.options import DEMO_MODEL
from jalhost.engine.targets import open_target
from jalhost.links.etherbone_packet import parse_answer, request
from jalhost.links.link import Link
from jalhost.links.open import open_link
from jalhost.models.blob import build_blob
from jalhost.models.image_file import load_image
from jaltest.etherbone import Faults, RoughNetwork
from jaltest.models import models_folder
from jaltest.system import PATIENCE_S, System
from jaltest.texts import JALHOST, generate, run_json

pytestmark = [pytest.mark.sim, pytest.mark.slow]

PLACE = MAIN_RAM_ORIGIN + SCRATCH_OFFSET

PROMPT = "Once upon a time"

ARGUMENTS = ("generate", PROMPT, "--max-tokens=24")


@pytest.fixture(scope="module")
def system(ethernet_build: object) -> Iterator[System]:
    """One system with Ethernet for all tests of this file."""
    system = System(ethernet_build)
    assert system.mailbox  # the firmware is ready
    yield system
    system.close()


@pytest.fixture
def link(system: System) -> Iterator[Link]:
    link = open_link(name_of(system), PATIENCE_S)
    yield link
    link.close()


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> Path:
    """The smaller model, if it is here."""
    if (models_folder() / "stories260K.bin").is_file():
        path: Path = request.getfixturevalue("stories")
        return path
    return DEMO_MODEL


def name_of(system: System) -> str:
    host, port = system.simulator.udp_address
    return f"eth:{host}:{port}"


def test_words_of_both_bridges_are_the_same(system: System, link: Link) -> None:
    pick = random.Random(1)
    for words in (1, 2, 253, 254, 255, 256, 600):
        values = [pick.getrandbits(32) for _ in range(words)]
        link.write(PLACE, values)
        assert link.read(PLACE, words) == values
        assert system.read(PLACE, words) == values
    assert link.read(FINGERPRINT_ADDRESS, 2) == system.read(FINGERPRINT_ADDRESS, 2)


def test_numbered_requests_are_executed_once_and_in_order(system: System, link: Link) -> None:
    number = (link.read(etherbone.LAST_NUMBER_ADDRESS)[0] + 10) % etherbone.NUMBERS
    with client(system) as user:

        def ask(number: int, value: int) -> bool:
            """Whether a write is answered."""
            user.send(request(number, 99, PLACE, [value], [PLACE]))
            try:
                return parse_answer(user.recv(2048)) == (99, (value,))
            except TimeoutError:
                return False

        user.settimeout(PATIENCE_S)
        assert ask(number, 1)
        assert ask(number + 2, 2)
        user.settimeout(0.5)
        assert not ask(number + 2, 3)
        assert not ask(number + 1, 4)
        user.settimeout(PATIENCE_S)
        assert ask(0, 5)
        assert ask(number + 3, 6)


def client(system: System) -> socket.socket:
    """A socket that talks to the system."""
    user = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    user.connect(system.simulator.udp_address)
    return user


def test_malformed_packets_do_no_harm(system: System, link: Link) -> None:
    link.write(PLACE, [1, 2, 3])
    sound = request(0, 5, PLACE, [7, 8, 9], [FINGERPRINT_ADDRESS])
    with client(system) as user:
        for packet in (
            b"",
            b"x",
            bytes(1472),
            sound[:8],
            sound[:12],
            sound[:-4],
            sound + bytes(4),
            sound[:10] + bytes((200,)) + sound[11:],
            sound[:11] + bytes((255,)) + sound[12:],
            b"\0" + sound[1:],
            request(0, 5, PLACE, range(200), range(0, 4 * 160, 4)),
        ):
            user.send(packet)
    assert link.read(PLACE, 3) == [1, 2, 3]


def test_flood_is_taken_whole_packet_by_packet(system: System, link: Link) -> None:
    """More than the system can keep: packets are lost then, but none in part."""
    packets, words = 60, etherbone.MAX_WRITE
    place = MAIN_RAM_ORIGIN + (1 << 20)
    link.write(place, [0] * packets * words)
    with client(system) as user:
        for index in range(packets):
            values = [index + 1] * words
            user.send(request(0, index, place + 4 * index * words, values, ()))
        content = link.read(place, packets * words)
    written = 0
    for index in range(packets):
        part = set(content[index * words : (index + 1) * words])
        assert part in ({0}, {index + 1})
        written += part != {0}
    assert 5 < written < packets


def test_target_gives_the_emulators_tokens(ethernet_build: object, model: Path) -> None:
    assert ethernet_build  # the same that the target takes, as long as the image fits
    image, reports = load_image(model), list[str]()
    with open_target("sim:eth", reports.append) as target, open_target("emu", print) as emulator:
        target.load(image)
        emulator.load(image)
        expected = generate(emulator, image, PROMPT, 0.8, 3).token_ids
        assert generate(target, image, PROMPT, 0.8, 3).token_ids == expected
    assert any(report.startswith("sending ") for report in reports)


def test_rough_network_gives_the_same_tokens(system: System, model: Path) -> None:
    """5 % of the packets lost, repeated and late, each way; the command line on top."""
    faults = Faults(seed=1, lose=0.05, repeat=0.05, delay=0.05)
    expected = run_json(*ARGUMENTS, "--json", "--target=emu", f"--model={model}")
    with RoughNetwork(system.simulator.udp_address, faults) as network:
        host, port = network.address
        figures = run_json(*ARGUMENTS, "--json", f"--target=eth:{host}:{port}", f"--model={model}")
    assert figures["token_ids"] == expected["token_ids"]
    assert figures["provenance"] == "simulated"
    assert network.lost > 20
    assert network.passed > 500


def test_peer_that_dies_is_one_line(ethernet_build: object, model: Path) -> None:
    system = System(ethernet_build, build_blob(load_image(model), STANDARD).data)
    assert system.mailbox  # the firmware is ready
    name = name_of(system)
    run = subprocess.Popen(
        [*JALHOST, *ARGUMENTS, "--max-tokens=900", f"--target={name}", f"--model={model}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout
    assert run.stdout.read(len(PROMPT) + 10).startswith(PROMPT)
    system.close()
    _, errors = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 4
    last = errors.strip().splitlines()[-1]
    assert last.startswith("jalhost: error: nobody listens on UDP port 127.0.0.1:")
    assert "Traceback" not in errors
