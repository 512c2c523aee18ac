"""The whole system in Verilator: generated Verilog behind a small C++ harness."""
