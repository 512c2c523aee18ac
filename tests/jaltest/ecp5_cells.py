"""Verilog models of the ECP5's multiplier and block RAM, for which yosys has none.

Ports and parameters are those of yosys' library (``cells_bb_ecp5.v``, ``cells_sim_ecp5.v``), what
they do is described by Lattice: *ECP5 sysDSP Usage Guide* (FPGA-TN-02205) and *ECP5 Memory Usage
Guide* (FPGA-TN-02204). What neither yosys nor this project uses is not modelled, and ends the
simulation where a netlist has it.
"""

MULTIPLIER = """
module MULT18X18D(input PINS, output OUTS);
  parameter [63:0] REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0";
  parameter [63:0] REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0";
  parameter [63:0] REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0";
  parameter CLK0_DIV = "ENABLED", GSR = "ENABLED", RESETMODE = "SYNC";
  wire [17:0] a = {A_BITS}, b = {B_BITS};
  wire [3:0] ce = {CE_BITS}, rst = {RST_BITS};
  reg [17:0] ra = 0, rb = 0;
  reg [35:0] rp = 0;
  wire [17:0] va = REG_INPUTA_CLK == "NONE" ? a : ra, vb = REG_INPUTB_CLK == "NONE" ? b : rb;
  wire signed [18:0] xa = {SIGNEDA & va[17], va}, xb = {SIGNEDB & vb[17], vb};
  wire signed [37:0] xp = xa * xb;
  // A name's last two bits are its number: "CE2", "RST3".
  always @(posedge CLK0) begin
    if (rst[REG_INPUTA_RST[1:0]]) ra <= 0; else if (ce[REG_INPUTA_CE[1:0]]) ra <= a;
    if (rst[REG_INPUTB_RST[1:0]]) rb <= 0; else if (ce[REG_INPUTB_CE[1:0]]) rb <= b;
    if (rst[REG_OUTPUT_RST[1:0]]) rp <= 0; else if (ce[REG_OUTPUT_CE[1:0]]) rp <= xp[35:0];
  end
  assign {P_BITS} = REG_OUTPUT_CLK == "NONE" ? xp[35:0] : rp;
endmodule
"""

BLOCK_RAM = """
module DP16KD(input PINS, output OUTS);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB";
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter [319:0] INITIAL_VALUES;

  // 512 rows of four bytes, each with a ninth bit that widths below 9 do not reach.
  reg [35:0] rows [0:511];
  integer row;
  initial for (row = 0; row < 512; row = row + 1) rows[row] = initial_row(row);
  function [35:0] initial_row(input integer number);
    reg [319:0] words;  // two halves of a row in 20 bits each
    begin
      case (number / 8)
        INITIAL_CASES
        default: words = 0;
      endcase
      words = words >> 40 * (number % 8);
      initial_row = {words[37:20], words[17:0]};
    end
  endfunction

  // Bits of a row that an access means, and a word that is as wide as the port, at each place.
  function [35:0] place(input integer width, input [4:0] low);
    case (width)
      36: place = {36{1'b1}};
      18: place = {18{1'b1}} << 18 * low[4];
      9: place = 36'h1ff << 9 * low[4:3];
      4: place = 36'hf << 9 * low[4:3] + 4 * low[2];
      2: place = 36'h3 << 9 * low[4:3] + 2 * low[2:1];
      default: place = 36'h1 << 9 * low[4:3] + low[2:0];
    endcase
  endfunction
  function [35:0] spread(input integer width, input [35:0] word);
    case (width)
      36: spread = word;
      18: spread = {2{word[17:0]}};
      9: spread = {4{word[8:0]}};
      4: spread = {4{1'b0, {2{word[3:0]}}}};
      2: spread = {4{1'b0, {4{word[1:0]}}}};
      default: spread = {4{1'b0, {8{word[0]}}}};
    endcase
  endfunction
  function [35:0] word_of(input integer width, input [4:0] low, input [35:0] bits);
    reg [8:0] one;
    begin
      one = bits >> 9 * low[4:3];
      case (width)
        36: word_of = bits;
        18: word_of = {18'b0, low[4] ? bits[35:18] : bits[17:0]};
        9: word_of = {27'b0, one};
        4: word_of = {32'b0, low[2] ? one[7:4] : one[3:0]};
        2: word_of = (one >> 2 * low[2:1]) & 3;
        default: word_of = (one >> low[2:0]) & 1;
      endcase
    end
  endfunction
  // The lowest address bits of wide ports are byte enables.
  function [35:0] enabled(input integer width, input [3:0] low);
    case (width)
      36: enabled = {{9{low[3]}}, {9{low[2]}}, {9{low[1]}}, {9{low[0]}}};
      18: enabled = {2{{9{low[1]}}, {9{low[0]}}}};
      default: enabled = {36{1'b1}};
    endcase
  endfunction

  wire [13:0] ada = {ADA_BITS}, adb = {ADB_BITS};
  wire [17:0] dia = {DIA_BITS}, dib = {DIB_BITS};
  wire on_a = CEA & ~(CSA2 | CSA1 | CSA0), on_b = CEB & ~(CSB2 | CSB1 | CSB0);
  wire writes_a = on_a & WEA & ~RSTA, writes_b = on_b & WEB & ~RSTB;
  wire [35:0] place_a = place(DATA_WIDTH_A, ada[4:0]), place_b = place(DATA_WIDTH_B, adb[4:0]);
  wire [35:0] mask_a = writes_a ? place_a & enabled(DATA_WIDTH_A, ada[3:0]) : 0;
  wire [35:0] mask_b = writes_b ? place_b & enabled(DATA_WIDTH_B, adb[3:0]) : 0;
  wire [35:0] new_a = spread(DATA_WIDTH_A, {dib, dia}), new_b = spread(DATA_WIDTH_B, {18'b0, dib});
  wire [35:0] old_a = rows[ada[13:5]], old_b = rows[adb[13:5]];
  // What a port reads while the other one writes it is not promised: here it is always wrong.
  wire same = ada[13:5] == adb[13:5];
  wire [35:0] seen_a = same ? old_a ^ mask_b : old_a, seen_b = same ? old_b ^ mask_a : old_b;
  reg [35:0] qa = 0, qb = 0;
  always @(posedge CLKA)
    if (RSTA) qa <= 0;
    else if (on_a & ~(WEA & WRITEMODE_A == "NORMAL"))
      qa <= word_of(DATA_WIDTH_A, ada[4:0],
                    WRITEMODE_A == "WRITETHROUGH" ? seen_a & ~mask_a | new_a & mask_a : seen_a);
  always @(posedge CLKB)
    if (RSTB) qb <= 0;
    else if (on_b & ~(WEB & WRITEMODE_B == "NORMAL"))
      qb <= word_of(DATA_WIDTH_B, adb[4:0],
                    WRITEMODE_B == "WRITETHROUGH" ? seen_b & ~mask_b | new_b & mask_b : seen_b);
  integer i, j;
  always @(posedge CLKA)
    for (i = 0; i < 36; i = i + 1) if (mask_a[i]) rows[ada[13:5]][i] <= new_a[i];
  always @(posedge CLKB)
    for (j = 0; j < 36; j = j + 1) if (mask_b[j]) rows[adb[13:5]][j] <= new_b[j];
  // Output registers have clock enables of their own.
  reg [35:0] ra = 0, rb = 0;
  always @(posedge CLKA) if (OCEA) ra <= RSTA ? 0 : qa;
  always @(posedge CLKB) if (OCEB) rb <= RSTB ? 0 : qb;
  wire [35:0] va = REGMODE_A == "OUTREG" ? ra : qa, vb = REGMODE_B == "OUTREG" ? rb : qb;
  // 36 bits wide, port A writes through the inputs of both, and port B reads through the outputs.
  assign {DOA_BITS} = DATA_WIDTH_B == 36 ? vb[17:0] : va[17:0];
  assign {DOB_BITS} = DATA_WIDTH_B == 36 ? vb[35:18] : vb[17:0];

  task refuse(input [8*40-1:0] what);
    begin
      $display("DP16KD: %0s", what);
      $finish;
    end
  endtask
  initial begin
    if (DATA_WIDTH_B == 36 && REGMODE_A != REGMODE_B) refuse("no model of half a register");
    if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000") refuse("no model of chip selects");
    if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB") refuse("no model of inverted clocks");
  end
  always @(posedge CLKA) if (RESETMODE != "SYNC" && RSTA) refuse("no model of such a reset");
  always @(posedge CLKB) if (RESETMODE != "SYNC" && RSTB) refuse("no model of such a reset");
  always @(posedge CLKB) if (DATA_WIDTH_B == 36 && WEB) refuse("port B does not write 36 bits");
endmodule
"""


def bits(letters: str, count: int) -> str:
    """``A17, A16, ..., A0``: pins of a port, the highest first."""
    return ", ".join(f"{letters}{index}" for index in reversed(range(count)))


def _cell(text: str, inputs: dict[str, int], others: str, outputs: dict[str, int]) -> str:
    """A model with its pins written out, each a port of its own."""
    pins = [bits(name, count) for name, count in inputs.items()]
    text = text.replace("PINS", ", ".join([*pins, others]))
    text = text.replace("OUTS", ", ".join(bits(name, count) for name, count in outputs.items()))
    for name, count in (inputs | outputs).items():
        text = text.replace(f"{{{name}_BITS}}", f"{{{bits(name, count)}}}")
    return text


def multiplier() -> str:
    """A multiplier with registers at operands and product; their resets are synchronous."""
    operands = {"A": 18, "B": 18, "C": 18, "CE": 4, "RST": 4}
    return _cell(MULTIPLIER, operands, "SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0", {"P": 36})


def block_ram() -> str:
    """A block RAM of any widths and write modes, with or without output registers.

    A read that meets the other port's write answers wrongly, as Lattice promises nothing of it.
    """
    others = ", ".join(
        f"{name}{port}" for port in "AB" for name in ("CE", "OCE", "CLK", "WE", "RST")
    )
    names = [f"INITVAL_{index:02X}" for index in range(64)]
    cases = "\n        ".join(f"{index}: words = {name};" for index, name in enumerate(names))
    text = BLOCK_RAM.replace("INITIAL_VALUES", ", ".join(f"{name} = 0" for name in names))
    inputs = {"DIA": 18, "DIB": 18, "ADA": 14, "ADB": 14, "CSA": 3, "CSB": 3}
    return _cell(text.replace("INITIAL_CASES", cases), inputs, others, {"DOA": 18, "DOB": 18})
