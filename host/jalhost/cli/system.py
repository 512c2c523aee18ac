"""``jalhost targets`` and ``jalhost doctor``: what this computer can run, and what it lacks."""

import json
from typing import Any

import typer

from jalhost.cli.options import Debug, Json
from jalhost.cli.render import table
from jalhost.errors import EnvironmentProblem


def targets(as_json: Json = False, debug: Debug = False) -> None:
    """List what programs can run on."""
    from jalhost.environment import SIMULATION, serial_ports
    from jalhost.links.pcie_bar import SYSFS, our_devices

    missing = ", ".join(item.name for item in SIMULATION.missing())
    state = f"not available: {missing} missing (see jalhost doctor)" if missing else "available"
    rows = [
        ("emu", "available", "bit-exact model of the engine, in Python; no hardware figures"),
        ("sim", state, "whole system in a Verilog simulator, model placed in its memory"),
        ("sim:uart", state, "the same, model loaded over the simulated serial port"),
        ("sim:eth", state, "the same, model loaded over the simulated Ethernet"),
        ("sim:pcie", state, "the same, model loaded over simulated PCIe"),
        ("sim:pcie-dma", state, "the same, model fetched by the simulated device's DMA"),
        *((f"pcie:{device.address}", "board found", device.link) for device in our_devices(SYSFS)),
        *((f"uart:{port}", "port found", text) for port, text in serial_ports()),
    ]
    if as_json:
        print(
            json.dumps([dict(zip(("target", "state", "what"), row, strict=True)) for row in rows])
        )
        return
    print(table([(name, f"{state}; {what}" if what else state) for name, state, what in rows]))
    if not any(name.startswith("uart:") for name, _, _ in rows):
        print("no serial ports found; name a board's port as uart:/dev/ttyUSB0")
    print("name a board on the network as eth:HOST, for example eth:192.168.1.50")
    print("name a board of a labgrid farm as labgrid:PLACE (LG_COORDINATOR names the farm)")


def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Check what is installed; exits with 6 where something is missing that is not optional."""
    from jalhost.environment import PURPOSES

    results = [
        {
            "purpose": purpose.name,
            "missing": [item.name for item in purpose.missing()],
            "found": {item.name: item.location() for item in purpose.requirements},
            "fix": purpose.fixes(),
            "optional": purpose.apart,
        }
        for purpose in PURPOSES
    ]
    if as_json:
        print(json.dumps(results, indent=2))
    else:
        print("\n".join(_lines(results)))
    if any(result["missing"] and not result["optional"] for result in results):
        raise typer.Exit(EnvironmentProblem.exit_code)


def _lines(results: list[dict[str, Any]]) -> list[str]:
    lines = []
    for result in results:
        missing, fixes = result["missing"], result["fix"]
        verdict = f"missing: {', '.join(missing)}" if missing else "ready"
        if missing and result["optional"]:
            verdict += " (optional)"
        lines.append(f"{result['purpose']}: {verdict}")
        lines += [f"  to fix: {command}" for command in fixes]
    return lines
