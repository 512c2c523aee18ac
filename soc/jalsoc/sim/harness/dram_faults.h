// Broken DRAM: what stands between the model's chips and the system, bit by bit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

class Vsim___024root;

// A fault looks at the model behind each cycle, and changes what a broken one would have changed.
class DramFault {
 public:
  virtual ~DramFault() = default;
  virtual void apply(uint64_t cycle) = 0;
};

// By name and numbers:
//   dram-data BIT VALUE: a data line reads as VALUE.
//   dram-lane LANE: a byte of each transfer reads as noise.
//   calibration: all bytes do.
//   dram-address BIT VALUE: an address line is VALUE while rows are opened.
//   refresh-off CYCLES: a row that is not opened for so long loses bits.
// Returns nullptr where the name is another one; throws std::runtime_error for a wrong number.
std::unique_ptr<DramFault> make_dram_fault(const std::string &name,
                                           const std::vector<uint64_t> &numbers,
                                           Vsim___024root &root);
