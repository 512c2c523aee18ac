#include "dram_faults.h"

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "Vsim___024root.h"
#include "geometry.h"

namespace {

constexpr size_t LANES = DRAM_DATA_BITS / 8;

// Share of a forgotten row's bytes that lose a bit.
constexpr uint64_t FORGOTTEN = 16;

// How often rows are looked at for whether they have forgotten.
constexpr uint64_t LOOK_CYCLES = 1024;

// Numbers that look random, and are the same each time.
class Noise {
 public:
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    return state_ ^= state_ << 17;
  }

 private:
  uint64_t state_ = 0x9E3779B97F4A7C15;
};

// Words that were read from the chips and are on their way to the system.
class ReadData : public DramFault {
 public:
  explicit ReadData(Vsim___024root &root)
      : bytes_(reinterpret_cast<uint8_t *>(&root.sim__DOT__dram_ring[0])) {
    static_assert(sizeof(root.sim__DOT__dram_ring) % LANES == 0, "whole transfers");
  }

 protected:
  // The byte of a lane in each transfer.
  template <typename Change>
  void change_lane(size_t lane, Change change) {
    for (size_t i = lane; i < sizeof(Vsim___024root::sim__DOT__dram_ring); i += LANES)
      bytes_[i] = change(bytes_[i]);
  }

 private:
  uint8_t *bytes_;
};

class StuckData final : public ReadData {
 public:
  StuckData(Vsim___024root &root, uint64_t bit, bool value)
      : ReadData(root), lane_(bit / 8), mask_(static_cast<uint8_t>(1u << bit % 8)), value_(value) {}

  void apply(uint64_t) override {
    change_lane(lane_, [this](uint8_t byte) -> uint8_t {
      return value_ ? byte | mask_ : byte & static_cast<uint8_t>(~mask_);
    });
  }

 private:
  size_t lane_;
  uint8_t mask_;
  bool value_;
};

class NoisyLanes final : public ReadData {
 public:
  NoisyLanes(Vsim___024root &root, size_t first, size_t end)
      : ReadData(root), first_(first), end_(end) {}

  void apply(uint64_t) override {
    for (size_t lane = first_; lane < end_; lane++)
      change_lane(lane, [this](uint8_t) { return static_cast<uint8_t>(noise_.next()); });
  }

 private:
  size_t first_, end_;
  Noise noise_;
};

using Rows = decltype(Vsim___024root::sim__DOT__dram_rows);
using Row = std::remove_reference_t<decltype(std::declval<Rows &>()[0])>;
constexpr size_t BANKS = sizeof(Rows) / sizeof(Row);

// A row is chosen a few cycles before its words are: early enough to choose another one here.
class StuckAddress final : public DramFault {
 public:
  StuckAddress(Vsim___024root &root, uint64_t bit, bool value)
      : rows_(root.sim__DOT__dram_rows), mask_(static_cast<Row>(1u << bit)), value_(value) {}

  void apply(uint64_t) override {
    for (size_t bank = 0; bank < BANKS; bank++)
      rows_[bank] = static_cast<Row>(value_ ? rows_[bank] | mask_ : rows_[bank] & ~mask_);
  }

 private:
  Rows &rows_;
  Row mask_;
  bool value_;
};

class Forgetful final : public DramFault {
 public:
  Forgetful(Vsim___024root &root, uint64_t cycles)
      : rows_(root.sim__DOT__dram_rows),
        dram_(reinterpret_cast<uint8_t *>(&root.sim__DOT__dram[0])),
        retention_(cycles),
        opened_(DRAM_BYTES / DRAM_ROW_BYTES, 0) {
    for (size_t bank = 0; bank < BANKS; bank++) last_[bank] = rows_[bank];
  }

  // That a row is opened shows where it is another one than before.
  void apply(uint64_t cycle) override {
    for (size_t bank = 0; bank < BANKS; bank++) {
      if (rows_[bank] == last_[bank]) continue;
      last_[bank] = rows_[bank];
      opened_[rows_[bank] * BANKS + bank] = cycle;
    }
    if (cycle % LOOK_CYCLES == 0) forget(cycle);
  }

 private:
  void forget(uint64_t cycle) {
    for (size_t row = 0; row < opened_.size(); row++) {
      if (opened_[row] == FORGOTTEN_ALREADY || cycle - opened_[row] < retention_) continue;
      opened_[row] = FORGOTTEN_ALREADY;
      for (size_t i = 0; i < DRAM_ROW_BYTES; i++) {
        const uint64_t random = noise_.next();
        if (random % FORGOTTEN == 0)
          dram_[row * DRAM_ROW_BYTES + i] &= static_cast<uint8_t>(~(1u << (random >> 32) % 8));
      }
    }
  }

  static constexpr uint64_t FORGOTTEN_ALREADY = UINT64_MAX;

  Rows &rows_;
  uint8_t *dram_;
  uint64_t retention_;
  std::vector<uint64_t> opened_;
  Row last_[BANKS];
  Noise noise_;
};

uint64_t number(const std::string &name, const std::vector<uint64_t> &numbers, size_t index,
                uint64_t end) {
  if (index >= numbers.size() || numbers[index] >= end)
    throw std::runtime_error("fault " + name + ": number " + std::to_string(index + 1) +
                             " is missing or not below " + std::to_string(end));
  return numbers[index];
}

}  // namespace

std::unique_ptr<DramFault> make_dram_fault(const std::string &name,
                                           const std::vector<uint64_t> &numbers,
                                           Vsim___024root &root) {
  const auto at = [&](size_t index, uint64_t end) { return number(name, numbers, index, end); };
  if (name == "dram-data")
    return std::make_unique<StuckData>(root, at(0, DRAM_DATA_BITS), at(1, 2));
  if (name == "dram-lane") {
    const uint64_t lane = at(0, LANES);
    return std::make_unique<NoisyLanes>(root, lane, lane + 1);
  }
  if (name == "calibration") return std::make_unique<NoisyLanes>(root, 0, LANES);
  if (name == "dram-address") {
    const uint64_t rows = DRAM_BYTES / DRAM_ROW_BYTES / BANKS;
    uint64_t bits = 0;
    while (rows >> (bits + 1)) bits++;
    return std::make_unique<StuckAddress>(root, at(0, bits), at(1, 2));
  }
  if (name == "refresh-off") return std::make_unique<Forgetful>(root, at(0, UINT64_MAX));
  return nullptr;
}
