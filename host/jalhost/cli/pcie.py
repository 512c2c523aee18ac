"""``jalhost pcie``: devices on this computer's PCIe bus."""

import json

import typer

from jalhost.cli.options import Debug, Json, show_help_alone
from jalhost.cli.render import table
from jalhost.errors import LinkError

app = typer.Typer(
    help="Find boards in PCIe slots.",
    rich_markup_mode=None,
    invoke_without_command=True,
    callback=show_help_alone,
)


@app.command("list")
def list_devices(as_json: Json = False, debug: Debug = False) -> None:
    """List boards on the PCIe bus, and whether they can be used."""
    from jalhost.links import pcie_bar

    found = [
        {
            "target": f"pcie:{device.address}",
            "ids": device.ids,
            "link": device.link,
            "driver": device.driver,
            "state": _state(device),
        }
        for device in pcie_bar.our_devices(pcie_bar.SYSFS)
    ]
    if as_json:
        print(json.dumps(found, indent=2))
    elif not found:
        print("no boards on the PCIe bus; sudo jalhost pcie rescan looks for them again")
    else:
        print(table([(item["target"], _line(item)) for item in found]))


@app.command()
def rescan(
    address: str = typer.Argument("", help="Only this device, for example 03:00.0."),
    debug: Debug = False,
) -> None:
    """Have the kernel look for boards again, after an FPGA was configured; needs root."""
    from jalhost.links import pcie_bar

    found = pcie_bar.rescan(address, pcie_bar.SYSFS)
    print("\n".join(f"pcie:{name}" for name in found) or "no boards on the PCIe bus")


def _line(item: dict[str, str]) -> str:
    driver = f"driver {item['driver']}" if item["driver"] else "no driver"
    return "; ".join(part for part in (item["state"], item["ids"], item["link"], driver) if part)


def _state(device: object) -> str:
    """What a device says who it is, or why it cannot be asked."""
    from jalgateware.contract.memory_map import FINGERPRINT_ADDRESS
    from jalhost.links.bar0 import Bar0Link
    from jalhost.links.pcie_bar import MappedBar, PciDevice

    assert isinstance(device, PciDevice)
    try:
        link = Bar0Link(MappedBar(device))
        try:
            high, low = link.read(FINGERPRINT_ADDRESS, 2)
        finally:
            link.close()
    except LinkError as error:
        return str(error)
    return f"fingerprint {high << 32 | low:016x}"
