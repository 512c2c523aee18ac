"""Verilog models of Gowin's multipliers, for which yosys has none.

Ports and parameters are those of yosys' library (``cells_xtra_gw2a.v``), what they do is described
by Gowin: *Digital Signal Processing (DSP) User Guide* (UG287). Operands that are shifted from one
multiplier to the next are not modelled: neither yosys nor this project uses them.
"""

MULTIPLIER = """
module MULTWIDTHXWIDTH(
    input [WIDTH-1:0] A, B, SIA, SIB, input ASIGN, BSIGN, ASEL, BSEL, CLK, CE, RESET,
    output [2*WIDTH-1:0] DOUT, output [WIDTH-1:0] SOA, SOB);
  parameter AREG = 0, BREG = 0, OUT_REG = 0, PIPE_REG = 0;
  parameter ASIGN_REG = 0, BSIGN_REG = 0, SOA_REG = 0, MULT_RESET_MODE = "SYNC";
  reg [WIDTH-1:0] ra = 0, rb = 0;
  reg [2*WIDTH-1:0] middle = 0, result = 0;
  wire [WIDTH-1:0] a = AREG ? ra : A, b = BREG ? rb : B;
  wire signed [WIDTH:0] xa = {ASIGN & a[WIDTH-1], a}, xb = {BSIGN & b[WIDTH-1], b};
  wire signed [2*WIDTH+1:0] product = xa * xb;
  wire [2*WIDTH-1:0] behind = PIPE_REG ? middle : product[2*WIDTH-1:0];
  initial if (ASIGN_REG || BSIGN_REG || SOA_REG || MULT_RESET_MODE != "SYNC") $stop;
  always @(posedge CLK) begin
    if (RESET) begin ra <= 0; rb <= 0; middle <= 0; result <= 0; end
    else if (CE) begin ra <= A; rb <= B; middle <= product[2*WIDTH-1:0]; result <= behind; end
  end
  assign DOUT = OUT_REG ? result : behind;
endmodule
"""


def multipliers() -> str:
    """Models of both sizes."""
    return "".join(MULTIPLIER.replace("WIDTH", width) for width in ("18", "9"))
