// The network of a system with Ethernet: datagrams of a socket on the loopback interface travel as
// frames on the system's wire, and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "design.h"

#ifdef LINK_ETH

class Ethernet {
 public:
  // Binds a UDP socket to 127.0.0.1; port 0 picks a free one. Throws std::runtime_error.
  explicit Ethernet(uint16_t port);
  ~Ethernet();
  Ethernet(const Ethernet &) = delete;
  Ethernet &operator=(const Ethernet &) = delete;

  // Where it can be reached: a member of the ready event, with a comma before it.
  std::string ready_field() const;

  // Whether a datagram has come in since the last call.
  bool active();

  // Takes the datagrams that have come in, as long as few wait.
  void poll();

  // The wire, before a clock cycle: takes what the system sends, and gives what it receives.
  // Between frames there is nothing. Throws std::runtime_error if a frame of the system is damaged.
  void step(Design &design) {
    if (const std::optional<uint8_t> byte = design.ethernet_sent()) {
      outgoing_.push_back(*byte);
    } else if (!outgoing_.empty()) {
      take_frame();
      outgoing_.clear();
    }
    design.set_ethernet(waiting_.empty() ? std::nullopt : next_byte());
  }

 private:
  using Bytes = std::vector<uint8_t>;

  static constexpr size_t MAX_WAITING = 64;

  std::optional<uint8_t> next_byte();
  void take_frame();
  void answer_arp(const Bytes &frame);
  void send_datagram(const Bytes &frame);
  void queue_frame(uint16_t type, const Bytes &payload);

  int socket_ = -1;
  uint16_t port_ = 0;
  bool received_ = false;
  std::deque<Bytes> waiting_;  // frames for the system
  size_t position_ = 0;        // in the first of them, or in the gap behind it
  Bytes outgoing_;             // the frame that the system sends
};

#else

// A system without a wire.
class Ethernet {
 public:
  explicit Ethernet(uint16_t) {}
  std::string ready_field() const { return ""; }
  bool active() { return false; }
  void poll() {}
  void step(Design &) {}
};

#endif
