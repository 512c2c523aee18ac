// A serial line that damages bytes, and somebody else who writes to the bus over it.
#pragma once

#include <cstdint>
#include <deque>
#include <random>

// Flips a bit in one of so many bytes, on the average; 0 damages nothing.
class NoisyLine {
 public:
  explicit NoisyLine(uint64_t bytes) : bytes_(bytes) {}

  uint8_t pass(uint8_t byte) {
    if (bytes_ == 0 || random_() % bytes_ != 0) return byte;
    return static_cast<uint8_t>(byte ^ (1u << random_() % 8));
  }

 private:
  uint64_t bytes_;
  std::mt19937 random_;  // seeded with the same number each time
};

// One write to the bus, by the UARTBone's protocol, in front of a request of the owner's.
class Intruder {
 public:
  // From this cycle on; nothing is written without a `plan`.
  void plan(uint64_t cycle, uint32_t address, uint32_t value) {
    cycle_ = cycle;
    request_ = {1, 1};
    for (const uint32_t word : {address >> 2, value})
      for (int shift = 24; shift >= 0; shift -= 8)
        request_.push_back(static_cast<uint8_t>(word >> shift));
  }

  // Whether the next byte on the line is this one's.
  bool speaks(uint64_t cycle) const {
    return !request_.empty() && (begun_ || (left_ == 0 && cycle >= cycle_));
  }

  uint8_t byte() const { return request_.front(); }

  void taken() {
    begun_ = true;
    request_.pop_front();
  }

  // Follows the owner's requests, to know where they end.
  void overhears(uint8_t byte) {
    if (left_ == 0) {
      write_ = byte == 1;
      counts_ = true;
      left_ = 5;
      return;
    }
    left_--;
    if (counts_ && write_) left_ += 4u * byte;
    counts_ = false;
  }

 private:
  uint64_t cycle_ = 0;
  std::deque<uint8_t> request_;
  bool begun_ = false;
  bool write_ = false;
  bool counts_ = false;  // the next byte is the number of words
  unsigned left_ = 0;
};
