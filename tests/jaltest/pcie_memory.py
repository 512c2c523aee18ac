"""Lets LiteX's ``CommPCIe`` reach a simulator: what it maps into memory goes out as packets.

All of ``CommPCIe`` but the processor's own accesses is LiteX's: finding and enabling the device,
opening its file, offsets, order and width of accesses.
"""

from types import SimpleNamespace

from jalhost.links.pcie_tlp import FramedPackets, PacketBar
from jalhost.links.root_complex import RootComplex
from jalhost.links.tcp import TcpConnection
from jaltest.system import PATIENCE_S


class Word:
    """A word of BAR 0, as ``ctypes.c_uint32.from_buffer`` gives one of a mapped file."""

    def __init__(self, bar: PacketBar, offset: int) -> None:
        self._bar, self._offset = bar, offset

    @property
    def value(self) -> int:
        (word,) = self._bar.read(self._offset, 1)
        return word

    @value.setter
    def value(self, word: int) -> None:
        self._bar.write(self._offset, [word])


def put_in_place(address: str) -> None:
    """Has ``CommPCIe`` of this process use the packets at ``HOST:PORT``."""
    from litex.tools.remote import comm_pcie

    host, _, port = address.rpartition(":")
    packets = FramedPackets(TcpConnection(host, int(port)))
    bar = PacketBar(RootComplex(packets, PATIENCE_S))
    comm_pcie.mmap = SimpleNamespace(mmap=lambda _file, _length: bar)
    comm_pcie.ctypes = SimpleNamespace(c_uint32=SimpleNamespace(from_buffer=Word))
