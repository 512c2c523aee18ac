"""Generates a board's Verilog and constraints; runs in a process of its own.

``python -m jalboards.elaborate CONFIG_JSON FOLDER``: LiteX logs to the console and configures
logging as a whole, so nobody should have to import it who only wants a list of boards.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from jalboards.black_box import black_box
from jalboards.board import Flow
from jalboards.config import BuildConfig
from jalsoc.export import without_date, write_maps

TOP = "top"
"""Name of the design, and of its files."""

ROM_CONTENT = f"{TOP}_firmware.init"
"""The firmware's words in hexadecimal, one per line."""

PROJECT = "project.json"
"""What the tools are called with."""

HIERARCHY = re.compile(r"^/\*\n.*?^\*/\n", re.MULTILINE | re.DOTALL)
"""A comment of LiteX's Verilog, which names cells in an order that differs each time."""

PCIE_BLOCK = "pcie_s7"
"""What LitePCIe calls the module that the project's Tcl makes."""

DRIVER = "driver"
"""Folder of LitePCIe's driver, of boards with PCIe."""

REGISTERS_PAGE = "registers.md"


def elaborate(config: BuildConfig, folder: Path) -> None:
    """Writes Verilog, memory contents, constraints, register maps and headers to ``folder``."""
    from jalboards.system import BoardSoC
    from jalsoc.registers_page import page

    soc = BoardSoC(config)
    soc.finalize()
    write_maps(soc, folder, {"board": config.board})
    introduction = f"# Registers of {config.facts.title}\n\nGenerated with the bitstream.\n"
    (folder / REGISTERS_PAGE).write_text(page(soc, introduction), encoding="utf-8")
    names = soc.platform.build(soc, build_dir=str(folder), build_name=TOP, run=False)
    if config.pcie:
        from jalsoc.pcie_driver import write_driver

        write_driver(soc, folder / DRIVER)
    if config.scope:
        from jalsoc.scope import write_analyzer

        write_analyzer(soc, names, folder)
    if not (folder / ROM_CONTENT).is_file():
        raise AssertionError("the ROM's content is not a file")
    for path in (*folder.glob("*.sh"), *folder.glob("*.ys")):
        path.unlink()
    sources = []
    for path, language, *_ in soc.platform.sources:
        assert language == "verilog", path
        name = Path(path).name
        if Path(path) != folder / name:
            shutil.copy(path, folder)
        sources.append(name)
    for path in folder.iterdir():
        if path.suffix in (".v", ".lpf", ".cst", ".xdc", ".tcl"):
            text = without_date(path.read_text(encoding="utf-8"))
            text = _without_paths(text, soc, folder)
            path.write_text(HIERARCHY.sub("", text, count=1), encoding="utf-8")
    boxes = []
    if config.pcie:
        boxes.append(f"{PCIE_BLOCK}_box.v")
        text = black_box(PCIE_BLOCK, soc.pcie_phy.pcie_phy_params)
        (folder / boxes[0]).write_text(text, encoding="utf-8")
    project = {
        "sources": sources,
        "black_boxes": boxes,
        **_tool_options(config.facts.flow, soc.platform),
    }
    (folder / PROJECT).write_text(json.dumps(project, indent=2) + "\n", encoding="utf-8")


def _without_paths(text: str, soc: Any, folder: Path) -> str:
    """A text that names files by their names: all lie in one folder."""
    for path, *_ in soc.platform.sources:
        text = text.replace(str(path), Path(path).name)
    return text.replace(f"{folder}/", "")


def _tool_options(flow: Flow, platform: Any) -> dict[str, list[str]]:
    """Device, package and pack options, as LiteX's toolchain classes know them."""
    toolchain = platform.toolchain
    if flow is Flow.ECP5:
        options = [f"--{toolchain._architecture}", "--package", toolchain._package]
        return {"nextpnr": [*options, "--speed", toolchain._speed_grade], "pack": []}
    if flow is Flow.GOWIN:
        family = {"GW2AR-18C": "GW2A-18C"}[platform.devicename]
        switches = [
            f"--{name.removeprefix('use_')}"
            for name, value in toolchain.options.items()
            if name.startswith("use_") and value
        ]
        return {
            "nextpnr": ["--device", platform.device, "--vopt", f"family={family}"],
            "pack": ["-d", family, *switches],
        }
    return {"nextpnr": [], "pack": []}


def main() -> None:
    """Command line: configuration as JSON, output folder."""
    elaborate(BuildConfig.from_json(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
