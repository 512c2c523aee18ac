"""What leads into a board besides its serial port, wired as litex_boards' targets wire it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from jalgateware.contract import pcie
from jalhost.errors import UsageError

DEFAULT_IP = "192.168.1.50"
"""As LiteX and its tools have it."""

MAC_PREFIX = 0x026A_0000_0000
"""Administered locally; the address on the network follows: boards that differ in one differ in
both."""


@dataclass(frozen=True)
class Ethernet:
    """A board's Ethernet.

    ``phy``: what the target's module calls the PHY's class; ``options``: arguments that are not the
    defaults; ``asks_clock``: whether it wants to know the system's clock.
    """

    phy: str = "LiteEthPHYRGMII"
    options: Mapping[str, float] = field(default_factory=dict)
    asks_clock: bool = False

    def connect(self, soc: Any, target: Any, address: str) -> None:
        """Adds Ethernet with Etherbone to a system.

        Args:
            soc: not finalised yet.
            target: module of :mod:`litex_boards.targets`.
            address: four numbers.
        """
        from jalsoc.ethernet import add_etherbone

        clock = {"clk_freq": soc.sys_clk_freq} if self.asks_clock else {}
        phy = getattr(target, self.phy)(
            clock_pads=soc.platform.request("eth_clocks"),
            pads=soc.platform.request("eth"),
            **self.options,
            **clock,
        )
        add_etherbone(soc, phy, MAC_PREFIX | int(IPv4Address(address)), address)


@dataclass(frozen=True)
class Pcie:
    """A board's PCIe slot or edge.

    ``pads``: their name in the platform; ``data_bits``: width of packets; ``low``: pins that are
    kept low; ``default``: whether it is built where nothing else is said.
    """

    pads: str = "pcie_x4"
    data_bits: int = 128
    low: tuple[str, ...] = ()
    default: bool = False

    def connect(self, soc: Any, target: Any) -> None:
        """Adds PCIe to a system; the hard block is made by Vivado, as the project's Tcl says.

        Args:
            soc: not finalised yet.
            target: module of :mod:`litex_boards.targets`.
        """
        from jalsoc.pcie import add_pcie

        platform = soc.platform
        soc.comb += [platform.request(name).eq(0) for name in self.low]
        phy = target.S7PCIEPHY(
            platform,
            platform.request(self.pads),
            data_width=self.data_bits,
            bar0_size=pcie.BAR0_BYTES,
        )
        add_pcie(soc, phy)


def check_address(text: str) -> None:
    """Checks an address on the network.

    Raises:
        UsageError: it is none that a board can have.
    """
    try:
        address = IPv4Address(text)
    except AddressValueError as error:
        raise UsageError(f"--ip: {error}", f"four numbers, for example {DEFAULT_IP}") from error
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        raise UsageError(f"--ip: {text} cannot be a board's", f"for example {DEFAULT_IP}")
