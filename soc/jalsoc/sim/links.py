"""What leads into a simulated system besides the UARTBone, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jalgateware.contract import etherbone, pcie

MAC_ADDRESS = 0x10E2D5000000
IP_ADDRESS = 0xC0A80132
"""Of systems with Ethernet: LiteX's defaults, 10:e2:d5:00:00:00 and 192.168.1.50."""


@dataclass(frozen=True)
class SimulatedLink:
    """A link.

    Args:
        connect: adds it to a system and its pins to the platform.
        constants: what the harness has to know, for its ``geometry.h``.
        packages: distributions that its gateware comes from.
    """

    connect: Callable[[Any, Any], None]
    constants: Mapping[str, int] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


def _connect_nothing(soc: Any, platform: Any) -> None:
    """The UARTBone is in every system."""


def _connect_ethernet(soc: Any, platform: Any) -> None:
    from jalsoc.sim.eth import connect

    connect(soc, platform)


def _connect_pcie(soc: Any, platform: Any) -> None:
    from jalsoc.sim.pcie import connect

    connect(soc, platform)


LINKS = {
    "uart": SimulatedLink(_connect_nothing),
    "eth": SimulatedLink(
        _connect_ethernet,
        {
            "LINK_ETH": 1,
            "ETH_MAC": MAC_ADDRESS,
            "ETH_IP": IP_ADDRESS,
            "ETH_PORT": etherbone.PORT,
        },
        ("liteeth",),
    ),
    "pcie": SimulatedLink(
        _connect_pcie,
        {
            "PCIE_BAR0": pcie.SIMULATED.bar0,
            "PCIE_BAR0_BYTES": pcie.BAR0_BYTES,
            "PCIE_DEVICE": pcie.SIMULATED.device,
            "PCIE_MSI_ADDRESS": pcie.MSI_ADDRESS,
        },
        ("litepcie",),
    ),
}
