// The simulated system's end of a PCIe link: packets over TCP, as the link would carry them.
//
// Each packet is a length of two bytes (big-endian) and so many bytes: header and data, in the
// order in which PCIe sends them, without what link layers add.
#pragma once

#include "geometry.h"

#ifdef PCIE_BAR0

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "design.h"

class PcieLink : public Pins {
 public:
  // Listens on a free port of 127.0.0.1. Throws std::runtime_error.
  PcieLink();
  ~PcieLink() override;
  PcieLink(const PcieLink &) = delete;
  PcieLink &operator=(const PcieLink &) = delete;

  uint16_t port() const { return port_; }

  // Whether somebody is connected.
  bool active() const { return client_ >= 0; }

  // Does what can be done without waiting: accepts, reads, writes.
  void poll();

  bool drive(Vsim &top) override;
  void sample(const Vsim &top) override;

 private:
  // Two words of a packet as LitePCIe has them: the first one below, each as a big-endian number.
  struct Beat {
    uint64_t data;
    uint8_t enable;
    bool last;
  };

  using Words = std::vector<uint32_t>;

  void accept_client();
  void close_client();
  void read_from_client();
  void receive(const Words &packet);
  void refuse(const Words &request);
  void send(const Words &packet);

  int listener_ = -1;
  int client_ = -1;
  uint16_t port_ = 0;
  std::vector<uint8_t> received_, output_;
  std::deque<Beat> input_;
  Words packet_;
};

#endif
