// The verilated system: its clock, its byte stream, and its memories as the harness sees them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dram_faults.h"
#include "geometry.h"

class Vsim;
class VerilatedContext;

class Trace;

// What hangs on further pins of the system.
class Pins {
 public:
  virtual ~Pins() = default;

  // Sets the system's inputs for a cycle. Whether anything may pass, so that the outputs have to be
  // looked at before the edge.
  virtual bool drive(Vsim &top) = 0;

  // Looks at the outputs before the edge.
  virtual void sample(const Vsim &top) = 0;
};

class Design {
 public:
  Design();
  ~Design();

  // Fills the ROM from a file; the rest is zero. Throws std::runtime_error.
  void load_rom(const std::string &path);

  // Copies bytes to or from DRAM at a byte offset. False if that is beyond its end.
  bool write_dram(uint64_t offset, const uint8_t *data, size_t length);
  bool read_dram(uint64_t offset, uint8_t *data, size_t length) const;

  // Writes waveforms of the cycles first to first + count - 1. Throws std::runtime_error if this
  // build cannot.
  void trace(const std::string &path, uint64_t first, uint64_t count);

  // Connects further pins; they outlive this object's last cycle.
  void attach(Pins &pins) { pins_ = &pins; }

  // Breaks the DRAM; see make_dram_fault. False if there is no such fault.
  bool break_dram(const std::string &fault, const std::vector<uint64_t> &numbers);

  // One clock cycle. `input` is offered to the system, `output_ready` tells whether a byte may
  // come out. Returns whether the input was taken, and the byte that came out.
  struct Exchange {
    bool taken;
    std::optional<uint8_t> output;
  };
  Exchange cycle(std::optional<uint8_t> input, bool output_ready);

#ifdef LINK_ETH
  // The Ethernet wire: what the system sends in this cycle, and what it is sent; both may be
  // nothing.
  std::optional<uint8_t> ethernet_sent() const;
  void set_ethernet(std::optional<uint8_t> byte);
#endif

  uint64_t cycles() const { return cycles_; }

  // The design called $finish.
  bool finished() const;

 private:
  void half_cycle(bool clock);
  void end_cycle();
  void dump(bool clock);

  std::unique_ptr<VerilatedContext> context_;
  std::unique_ptr<Vsim> top_;
  std::unique_ptr<Trace> trace_;
  std::unique_ptr<DramFault> fault_;
  uint64_t cycles_ = 0;
  uint8_t *dram_;
  Pins *pins_ = nullptr;
};
