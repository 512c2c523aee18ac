#include "design.h"

#include <cstring>
#include <fstream>
#include <stdexcept>

#include "Vsim.h"
#include "Vsim___024root.h"
#include "geometry.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_fst_c.h"
#endif

namespace {

// Bytes of a ROM word, which is as wide as the CPU's bus.
constexpr size_t ROM_WORD_BYTES = 4;

// Makes the next evaluation with a high clock a rising edge, although the clock did not fall: one
// evaluation less per cycle. Verilator keeps the clock's last value under a name that depends on
// its version. Returns whether this version's is known.
template <typename Root>
auto rearm(Root &root, int) -> decltype(root.__Vtrigrprev__TOP__sys_clk, true) {
  root.__Vtrigrprev__TOP__sys_clk = 0;
  return true;
}

template <typename Root>
auto rearm(Root &root, int) -> decltype(root.__Vtrigprevexpr___TOP__sys_clk__0, true) {
  root.__Vtrigprevexpr___TOP__sys_clk__0 = 0;
  return true;
}

template <typename Root>
bool rearm(Root &, long) {
  return false;
}

}  // namespace

#if VM_TRACE
class Trace {
 public:
  Trace(Vsim &top, const std::string &path, uint64_t first, uint64_t count)
      : path_(path), first_(first), end_(first + count) {
    top.trace(&file_, 99);
  }

  void dump(uint64_t cycle, bool clock) {
    if (cycle < first_ || cycle >= end_) {
      file_.close();
      return;
    }
    if (!file_.isOpen()) file_.open(path_.c_str());
    file_.dump(2 * cycle + (clock ? 1 : 0));
  }

  bool over(uint64_t cycle) const { return cycle > end_; }

 private:
  VerilatedFstC file_;
  std::string path_;
  uint64_t first_, end_;
};
#else
class Trace {};
#endif

Design::Design() : context_(new VerilatedContext) {
#if VM_TRACE
  context_->traceEverOn(true);
#endif
  top_ = std::make_unique<Vsim>(context_.get());
  dram_ = reinterpret_cast<uint8_t *>(&top_->rootp->sim__DOT__dram[0]);
  static_assert(sizeof(top_->rootp->sim__DOT__dram) == DRAM_BYTES,
                "the model's words lie in memory in order and without gaps");
  // Memories are initialised by the first evaluation: what is written before would be lost.
  half_cycle(false);
}

Design::~Design() { top_->final(); }

void Design::load_rom(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  uint8_t bytes[ROM_BYTES] = {};
  if (!file) throw std::runtime_error("cannot read firmware " + path);
  file.read(reinterpret_cast<char *>(bytes), ROM_BYTES);
  if (file.gcount() == 0 || file.peek() != std::ifstream::traits_type::eof())
    throw std::runtime_error("firmware " + path + " is empty or larger than the ROM");
  static_assert(sizeof(top_->rootp->sim__DOT__rom[0]) == ROM_WORD_BYTES, "32-bit ROM");
  std::memcpy(&top_->rootp->sim__DOT__rom[0], bytes, ROM_BYTES);
}

bool Design::write_dram(uint64_t offset, const uint8_t *data, size_t length) {
  if (offset > DRAM_BYTES || length > DRAM_BYTES - offset) return false;
  std::memcpy(dram_ + offset, data, length);
  return true;
}

bool Design::read_dram(uint64_t offset, uint8_t *data, size_t length) const {
  if (offset > DRAM_BYTES || length > DRAM_BYTES - offset) return false;
  std::memcpy(data, dram_ + offset, length);
  return true;
}

void Design::trace(const std::string &path, uint64_t first, uint64_t count) {
#if VM_TRACE
  trace_ = std::make_unique<Trace>(*top_, path, first, count);
#else
  throw std::runtime_error("this build writes no waveforms to " + path + " (" +
                           std::to_string(first) + ", " + std::to_string(count) + ")");
#endif
}

bool Design::break_dram(const std::string &fault, const std::vector<uint64_t> &numbers) {
  fault_ = make_dram_fault(fault, numbers, *top_->rootp);
  return fault_ != nullptr;
}

void Design::half_cycle(bool clock) {
  top_->sys_clk = clock;
  top_->eval();
}

void Design::dump(bool clock) {
#if VM_TRACE
  if (!trace_) return;
  trace_->dump(cycles_, clock);
  if (trace_->over(cycles_)) trace_.reset();
#else
  (void)clock;
#endif
}

Design::Exchange Design::cycle(std::optional<uint8_t> input, bool output_ready) {
  // Inputs change while the clock is low, and what passes is decided before its edge.
  top_->serial_sink_valid = input.has_value();
  top_->serial_sink_data = input.value_or(0);
  top_->serial_source_ready = output_ready;
  const bool pins_pass = pins_ && pins_->drive(*top_);
#if !VM_TRACE
  // Most cycles pass nothing, so that nobody looks at the outputs before the edge.
  if (!input && !top_->serial_source_valid && !pins_pass && rearm(*top_->rootp, 0)) {
    half_cycle(true);
    end_cycle();
    return {false, std::nullopt};
  }
#endif
  half_cycle(false);
  dump(false);
  if (pins_pass) pins_->sample(*top_);
  Exchange exchange{input && top_->serial_sink_ready, std::nullopt};
  if (output_ready && top_->serial_source_valid) exchange.output = top_->serial_source_data;
  half_cycle(true);
  dump(true);
  end_cycle();
  return exchange;
}

void Design::end_cycle() {
  cycles_++;
  if (fault_) fault_->apply(cycles_);
}

#ifdef LINK_ETH
std::optional<uint8_t> Design::ethernet_sent() const {
  if (!top_->ethernet_source_valid) return std::nullopt;
  return top_->ethernet_source_data;
}

void Design::set_ethernet(std::optional<uint8_t> byte) {
  top_->ethernet_sink_valid = byte.has_value();
  top_->ethernet_sink_data = byte.value_or(0);
}
#endif

bool Design::finished() const { return context_->gotFinish(); }
