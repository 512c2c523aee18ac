// An engine's netlist with its DRAM and its CSR bus. A script says what the host does.
//
// Prints what the engine writes to DRAM ("write ADDRESS DATA", hexadecimal), samples ("token
// NUMBER"), registers that were asked for ("register VALUE"), and "end" when the script is over.
`timescale 1ns / 1ns
module bench;
  parameter PORTS = 3, BITS = 32, FAULTS = 1, TAPE = 0, MOST_CYCLES = 40000;
  parameter STATUS = 0, TOKEN = 0, POP = 0;
  localparam ADDRESS = 24, WORDS = 1 << 17, DEPTH = 1024;
  localparam BUSY = 0, DONE = 1, VALID = 3;  // bits of STATUS

  reg clk = 0;
  always #1 clk = ~clk;
  integer cycle = 0;

  // What the script sets reaches the netlist through registers: the simulator would otherwise
  // evaluate all behind it twice.
  reg [13:0] next_adr = 0, adr = 0;
  reg next_we = 0, we = 0;
  reg next_re = 0, re = 0;
  reg [31:0] next_dat_w = 0, dat_w = 0;
  reg [FAULTS-1:0] next_fault = 0, fault = 0;
  wire [31:0] dat_r;
  always @(posedge clk) begin
    adr <= next_adr;
    we <= next_we;
    re <= next_re;
    dat_w <= next_dat_w;
    fault <= next_fault;
  end
  wire [PORTS-1:0] cmd_valid, cmd_we, rdata_ready, wdata_valid;
  reg [PORTS-1:0] cmd_ready = 0, rdata_valid = 0, wdata_ready = 0;
  wire [PORTS*ADDRESS-1:0] cmd_addr;
  reg [PORTS*BITS-1:0] rdata;
  wire [BITS-1:0] wdata;
  wire [BITS/8-1:0] wdata_we;
  top dut(
    .clk(clk), .rst(1'b0), .adr(adr), .we(we), .re(re), .dat_w(dat_w), .dat_r(dat_r),
    .cmd_valid(cmd_valid), .cmd_ready(cmd_ready), .cmd_we(cmd_we), .cmd_addr(cmd_addr),
    .rdata_valid(rdata_valid), .rdata_ready(rdata_ready), .rdata(rdata),
    .wdata_valid(wdata_valid), .wdata_ready(wdata_ready), .wdata(wdata),
    .wdata_we(wdata_we), .fault(fault));

  // DRAM: in order per port, with any latency. As in LiteDRAM, an answer is there for one cycle,
  // and write data is taken in one cycle, whether or not the engine is ready.
  reg [BITS-1:0] memory [0:WORDS-1];
  reg [ADDRESS-1:0] asked [0:PORTS*DEPTH-1];
  integer due [0:PORTS*DEPTH-1];
  integer head [0:PORTS-1], tail [0:PORTS-1];
  reg [ADDRESS-1:0] written [0:PORTS-1];
  integer p, slot;
  initial for (p = 0; p < PORTS; p = p + 1) begin head[p] = 0; tail[p] = 0; end
  always @(posedge clk) begin
    cycle <= cycle + 1;
    if (cycle > MOST_CYCLES) fail("it does not end");
    for (p = 0; p < PORTS; p = p + 1) begin
      if (cmd_valid[p] && cmd_ready[p]) begin
        slot = p * DEPTH + tail[p] % DEPTH;
        asked[slot] = cmd_addr[p*ADDRESS+:ADDRESS];
        due[slot] = cycle + 3 + $urandom % 12;
        tail[p] = tail[p] + 1;
        if (tail[p] - head[p] > DEPTH || cmd_we[p] != (p == PORTS - 1)) fail("a strange request");
      end
      if (rdata_valid[p] && !rdata_ready[p]) fail("an answer was not taken");
      if (wdata_ready[p]) begin
        if (!wdata_valid[p] || !(&wdata_we)) fail("there was no whole word to write");
        memory[written[p] % WORDS] = wdata;
        $display("write %0h %h", written[p], wdata);
      end
      cmd_ready[p] <= $urandom % 4 != 0;
      rdata_valid[p] <= 0;
      wdata_ready[p] <= 0;
      rdata[p*BITS+:BITS] <= {(BITS + 31) / 32{$urandom}};
      slot = p * DEPTH + head[p] % DEPTH;
      if (head[p] != tail[p] && due[slot] <= cycle) begin
        head[p] = head[p] + 1;
        if (p == PORTS - 1) begin
          wdata_ready[p] <= 1;
          written[p] <= asked[slot];
        end else begin
          rdata_valid[p] <= 1;
          rdata[p*BITS+:BITS] <= memory[asked[slot] % WORDS];
        end
      end
    end
  end

  task fail(input [8*40-1:0] what);
    begin
      $display("failed: %0s", what);
      $finish;
    end
  endtask

  task write(input [13:0] address, input [31:0] value);
    begin
      next_adr <= address;
      next_dat_w <= value;
      next_we <= 1;
      @(posedge clk);
      next_we <= 0;
    end
  endtask

  task read(input [13:0] address, output [31:0] value);
    begin
      next_adr <= address;
      next_re <= 1;
      repeat (4) @(posedge clk);
      value = dat_r;
      next_re <= 0;
    end
  endtask

  // Takes samples until the run is over.
  task take;
    reg [31:0] status, token;
    begin
      status = 0;
      while (!status[DONE] || status[BUSY] || status[VALID]) begin
        read(STATUS, status);
        if (status[VALID]) begin
          read(TOKEN, token);
          $display("token %0d", token);
          write(POP, 1);
          // The sample's register follows a cycle behind.
          repeat (4) @(posedge clk);
        end
      end
    end
  endtask

  // Steps of the script: what to do, address, value.
  localparam END = 0, WRITE = 1, TAKE = 2, READ = 3;
  reg [63:0] script [0:4095];
  reg [31:0] value;
  integer step, broken;
  initial begin
    if ($value$plusargs("fault=%d", broken)) next_fault[broken] = 1;
    $readmemh("tape.hex", memory, TAPE);
    $readmemh("script.hex", script);
    repeat (4) @(posedge clk);
    for (step = 0; script[step][63:48] != END; step = step + 1)
      case (script[step][63:48])
        WRITE: write(script[step][45:32], script[step][31:0]);
        TAKE: take;
        default: begin
          read(script[step][45:32], value);
          $display("register %0d", value);
        end
      endcase
    $display("end");
    $finish;
  end
endmodule
