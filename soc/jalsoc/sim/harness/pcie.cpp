#include "pcie.h"

#ifdef PCIE_BAR0

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include "Vsim.h"

namespace {

// Header fields (PCI Express Base Specification, "Transaction Layer Specification").
constexpr uint32_t LONG_HEADER = 1u << 29, WITH_DATA = 1u << 30, POISONED = 1u << 14;
constexpr uint32_t TYPE = 0x1f000000, MEMORY = 0, COMPLETION = 0x0a000000, MESSAGE = 0x10000000;
constexpr uint32_t MEMORY_WRITE_32 = 0x40000000, UNSUPPORTED_REQUEST = 1u << 13;

constexpr size_t MAX_PACKET_BYTES = 4096 + 16;

// A client that sends faster than the system takes has to wait, and the other way round.
constexpr size_t INPUT_LIMIT = 1 << 16, OUTPUT_LIMIT = 1 << 20;

uint32_t length_of(uint32_t header) { return (header & 0x3ff) ? header & 0x3ff : 1024; }

// Words of a packet with this header, without a digest.
size_t words_of(uint32_t header) {
  return 3u + (header & LONG_HEADER ? 1 : 0) + (header & WITH_DATA ? length_of(header) : 0);
}

bool is(uint32_t header, uint32_t type) { return (header & TYPE) == type; }

// Nobody answers writes to memory, completions and messages.
bool is_answered(uint32_t header) {
  return !(is(header, MEMORY) && header & WITH_DATA) && !is(header, COMPLETION) &&
         (header & MESSAGE) == 0;
}

uint32_t big_endian(const uint8_t *bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

}  // namespace

PcieLink::PcieLink() {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  sockaddr *const generic = reinterpret_cast<sockaddr *>(&address);
  if (listener_ < 0 || bind(listener_, generic, length) < 0 || listen(listener_, 4) < 0 ||
      getsockname(listener_, generic, &length) < 0)
    throw std::runtime_error(std::string("cannot listen for PCIe packets: ") + strerror(errno));
  port_ = ntohs(address.sin_port);
}

PcieLink::~PcieLink() {
  for (const int fd : {listener_, client_})
    if (fd >= 0) close(fd);
}

void PcieLink::poll() {
  pollfd fds[] = {{listener_, POLLIN, 0}, {client_, POLLIN, 0}};
  if (::poll(fds, 2, 0) > 0) {
    if (fds[1].revents && input_.size() < INPUT_LIMIT) read_from_client();
    if (fds[0].revents) accept_client();
  }
  if (output_.empty()) return;
  const ssize_t count = client_ < 0 ? -1 : write(client_, output_.data(), output_.size());
  if (count > 0) output_.erase(output_.begin(), output_.begin() + count);
  if (client_ < 0) output_.clear();
}

void PcieLink::accept_client() {
  const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  // A slot takes one device, and a device one slot.
  if (client_ >= 0) {
    close(fd);
    return;
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  client_ = fd;
}

void PcieLink::close_client() {
  close(client_);
  client_ = -1;
  received_.clear();
}

void PcieLink::read_from_client() {
  uint8_t buffer[65536];
  const ssize_t count = read(client_, buffer, sizeof buffer);
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
  if (count <= 0) {
    close_client();
    return;
  }
  received_.insert(received_.end(), buffer, buffer + count);
  size_t start = 0;
  while (received_.size() - start >= 2) {
    const size_t bytes = size_t{received_[start]} << 8 | received_[start + 1];
    if (bytes % 4 || bytes < 12 || bytes > MAX_PACKET_BYTES) {
      // Not a packet: nobody knows where the next one would begin.
      close_client();
      return;
    }
    if (received_.size() - start - 2 < bytes) break;
    Words packet;
    for (size_t i = 0; i < bytes; i += 4) packet.push_back(big_endian(&received_[start + 2 + i]));
    receive(packet);
    start += 2 + bytes;
  }
  received_.erase(received_.begin(), received_.begin() + static_cast<ptrdiff_t>(start));
}

// Does what a hard block does: damaged packets are dropped, and requests outside of BAR 0 refused.
void PcieLink::receive(const Words &packet) {
  const uint32_t header = packet[0];
  if (packet.size() != words_of(header)) return;
  if (!is(header, COMPLETION)) {
    const bool hit = is(header, MEMORY) && !(header & LONG_HEADER) && packet[2] >= PCIE_BAR0 &&
                     packet[2] - PCIE_BAR0 < PCIE_BAR0_BYTES;
    if (!hit) {
      if (is_answered(header)) refuse(packet);
      return;
    }
    if (header & POISONED) return;
  }
  for (size_t i = 0; i < packet.size(); i += 2) {
    const bool full = i + 1 < packet.size();
    const uint64_t high = full ? packet[i + 1] : 0;
    const uint8_t enable = full ? 0xff : 0x0f;
    input_.push_back({high << 32 | packet[i], enable, i + 2 >= packet.size()});
  }
}

void PcieLink::refuse(const Words &request) {
  const uint32_t identity = request[1] & 0xffffff00;
  const uint32_t low = request[2] & 0x7f;
  send({COMPLETION, uint32_t{PCIE_DEVICE} << 16 | UNSUPPORTED_REQUEST | 4, identity | low});
}

void PcieLink::send(const Words &packet) {
  if (client_ < 0) return;
  const size_t bytes = 4 * packet.size();
  output_.push_back(static_cast<uint8_t>(bytes >> 8));
  output_.push_back(static_cast<uint8_t>(bytes));
  for (const uint32_t word : packet)
    for (int shift = 24; shift >= 0; shift -= 8)
      output_.push_back(static_cast<uint8_t>(word >> shift));
}

bool PcieLink::drive(Vsim &top) {
  top.pcie_sink_valid = !input_.empty();
  if (!input_.empty()) {
    top.pcie_sink_dat = input_.front().data;
    top.pcie_sink_be = input_.front().enable;
    top.pcie_sink_last = input_.front().last;
  }
  top.pcie_source_ready = output_.size() < OUTPUT_LIMIT;
  return !input_.empty() || top.pcie_source_valid || top.pcie_msi_valid;
}

void PcieLink::sample(const Vsim &top) {
  if (top.pcie_sink_valid && top.pcie_sink_ready) input_.pop_front();
  if (top.pcie_msi_valid)
    send({MEMORY_WRITE_32 | 1, uint32_t{PCIE_DEVICE} << 16 | 0xf, PCIE_MSI_ADDRESS,
          uint32_t{top.pcie_msi_dat} << 24});
  if (!top.pcie_source_valid || !top.pcie_source_ready) return;
  if (top.pcie_source_be & 0x0f) packet_.push_back(static_cast<uint32_t>(top.pcie_source_dat));
  if (top.pcie_source_be & 0xf0)
    packet_.push_back(static_cast<uint32_t>(top.pcie_source_dat >> 32));
  if (top.pcie_source_last) {
    send(packet_);
    packet_.clear();
  }
}

#endif
