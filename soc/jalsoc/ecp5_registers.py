"""Pipeline registers into the ECP5's multipliers and block RAMs: what each netlist goes through."""

from dataclasses import replace

from jalsoc.dsp_registers import pack_registers as pack_multipliers
from jalsoc.netlist_wires import Netlist, Packed
from jalsoc.ram_registers import pack_outputs


def pack_registers(netlist: Netlist, top: str) -> Packed:
    """Changes the module ``top`` of a flattened netlist of ECP5 cells in place.

    Multipliers first, as they can take registers on either side; where two follow a block RAM, it
    has the other one.

    Raises:
        KeyError: there is no such module.
    """
    packed = pack_multipliers(netlist, top)
    memories, flip_flops = pack_outputs(netlist, top)
    return replace(packed, memories=memories, flip_flops=packed.flip_flops + flip_flops)
