// Where the system's byte stream leads: TCP clients and a pseudo terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

class Endpoints {
 public:
  // Listens on 127.0.0.1; port 0 picks a free one. Throws std::runtime_error.
  explicit Endpoints(uint16_t port);
  ~Endpoints();
  Endpoints(const Endpoints &) = delete;
  Endpoints &operator=(const Endpoints &) = delete;

  // Opens a pseudo terminal in raw mode and returns its path. Throws std::runtime_error.
  std::string open_terminal();

  uint16_t port() const { return port_; }

  // Whether somebody is connected by TCP, or bytes have come in since the last call.
  bool active();

  // Does what can be done without waiting: accepts, reads, writes.
  void poll();

  // Bytes for the system.
  bool has_input() const { return !input_.empty(); }
  uint8_t input() const { return input_.front(); }
  void take_input() { input_.pop_front(); }

  // Bytes from the system go to whoever sent last; nobody is interested in them before.
  bool has_room() const { return output_.size() < OUTPUT_LIMIT; }
  void put_output(uint8_t byte) { output_.push_back(byte); }

 private:
  static constexpr size_t OUTPUT_LIMIT = 1 << 16;
  // A client that sends faster than the system takes has to wait.
  static constexpr size_t INPUT_LIMIT = 1 << 20;

  void accept_client();
  void read_from(int &fd);
  void flush();
  void close_client();

  int listener_ = -1;
  int client_ = -1;
  int terminal_ = -1;
  int terminal_slave_ = -1;
  int last_sender_ = -1;
  uint16_t port_ = 0;
  bool received_ = false;
  std::deque<uint8_t> input_;
  std::vector<uint8_t> output_;
};
