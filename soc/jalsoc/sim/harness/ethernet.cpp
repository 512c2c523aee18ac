#include "ethernet.h"

#ifdef LINK_ETH

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace {

using Bytes = std::vector<uint8_t>;

// The harness is the one other station of this network.
constexpr uint64_t HOST_MAC = 0x020000000001;
constexpr uint32_t HOST_IP = 0xc0a80164;  // 192.168.1.100

constexpr uint16_t TYPE_IP = 0x0800, TYPE_ARP = 0x0806;
constexpr uint8_t PROTOCOL_UDP = 17;

// Sizes and places in bytes, from the start of the frame or of its header.
constexpr size_t MAC_HEADER = 14, IP_HEADER = 20, UDP_HEADER = 8;
constexpr size_t PREAMBLE = 8, CHECK = 4, MIN_FRAME = 60, GAP = 12;
constexpr size_t MTU = 1500;

void put(Bytes &bytes, uint64_t value, int count) {
  while (count--) bytes.push_back(static_cast<uint8_t>(value >> 8 * count));
}

uint64_t get(const Bytes &bytes, size_t place, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; i++) value = value << 8 | bytes.at(place + i);
  return value;
}

// IEEE 802.3, as the bytes are sent.
uint32_t check_sequence(const Bytes &frame) {
  uint32_t crc = ~0u;
  for (const uint8_t byte : frame) {
    crc ^= byte;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

uint16_t ip_checksum(const Bytes &header) {
  uint32_t sum = 0;
  for (size_t i = 0; i < header.size(); i += 2) sum += header[i] << 8 | header[i + 1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

[[noreturn]] void fail(const std::string &what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

}  // namespace

Ethernet::Ethernet(uint16_t port) {
  socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket_ < 0) fail("cannot open a socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  socklen_t length = sizeof address;
  if (bind(socket_, reinterpret_cast<sockaddr *>(&address), length) < 0 ||
      getsockname(socket_, reinterpret_cast<sockaddr *>(&address), &length) < 0)
    fail("cannot bind UDP port " + std::to_string(port) + " of 127.0.0.1");
  port_ = ntohs(address.sin_port);
}

Ethernet::~Ethernet() { close(socket_); }

std::string Ethernet::ready_field() const {
  return ", \"udp\": [\"127.0.0.1\", " + std::to_string(port_) + "]";
}

bool Ethernet::active() {
  const bool result = received_;
  received_ = false;
  return result;
}

void Ethernet::poll() {
  while (waiting_.size() < MAX_WAITING) {
    uint8_t data[MTU - IP_HEADER - UDP_HEADER + 1];
    sockaddr_in sender{};
    socklen_t size = sizeof sender;
    const ssize_t count = recvfrom(socket_, data, sizeof data, 0,
                                   reinterpret_cast<sockaddr *>(&sender), &size);
    if (count < 0) return;
    received_ = true;
    // What does not fit a frame, a network without fragments would not carry.
    const size_t length = static_cast<size_t>(count);
    if (length == sizeof data) continue;
    Bytes header;
    put(header, 0x4500, 2);
    put(header, IP_HEADER + UDP_HEADER + length, 2);
    put(header, 0, 4);
    put(header, 64 << 8 | PROTOCOL_UDP, 2);
    put(header, 0, 2);
    put(header, HOST_IP, 4);
    put(header, ETH_IP, 4);
    const uint16_t checksum = ip_checksum(header);
    header[10] = static_cast<uint8_t>(checksum >> 8);
    header[11] = static_cast<uint8_t>(checksum);
    put(header, ntohs(sender.sin_port), 2);
    put(header, ETH_PORT, 2);
    put(header, UDP_HEADER + length, 2);
    put(header, 0, 2);  // none: the frame has its own
    header.insert(header.end(), data, data + length);
    queue_frame(TYPE_IP, header);
  }
}

void Ethernet::queue_frame(uint16_t type, const Bytes &payload) {
  Bytes frame;
  put(frame, ETH_MAC, 6);
  put(frame, HOST_MAC, 6);
  put(frame, type, 2);
  frame.insert(frame.end(), payload.begin(), payload.end());
  frame.resize(std::max(frame.size(), MIN_FRAME));
  const uint32_t check = check_sequence(frame);
  for (size_t i = 0; i < CHECK; i++) frame.push_back(static_cast<uint8_t>(check >> 8 * i));
  Bytes wire(PREAMBLE - 1, 0x55);
  wire.push_back(0xd5);
  wire.insert(wire.end(), frame.begin(), frame.end());
  waiting_.push_back(wire);
}

std::optional<uint8_t> Ethernet::next_byte() {
  const size_t size = waiting_.front().size();
  if (position_ < size) return waiting_.front()[position_++];
  if (++position_ == size + GAP) {
    waiting_.pop_front();
    position_ = 0;
  }
  return std::nullopt;
}

void Ethernet::take_frame() {
  constexpr uint8_t START[PREAMBLE] = {0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0xd5};
  const Bytes &wire = outgoing_;
  if (wire.size() < PREAMBLE + MIN_FRAME + CHECK || !std::equal(START, START + PREAMBLE, wire.begin()))
    throw std::runtime_error("the system sent a frame that is none");
  const Bytes frame(wire.begin() + PREAMBLE, wire.end() - CHECK);
  uint32_t check = 0;
  for (size_t i = 0; i < CHECK; i++)
    check |= static_cast<uint32_t>(wire[wire.size() - CHECK + i]) << 8 * i;
  if (check != check_sequence(frame)) throw std::runtime_error("the system sent a damaged frame");
  const uint64_t type = get(frame, 12, 2);
  if (type == TYPE_ARP) answer_arp(frame);
  if (type == TYPE_IP) send_datagram(frame);
}

void Ethernet::answer_arp(const Bytes &frame) {
  constexpr uint64_t REQUEST = 0x0001080006040001, REPLY = 0x0001080006040002;
  if (get(frame, MAC_HEADER, 8) != REQUEST || get(frame, MAC_HEADER + 24, 4) != HOST_IP) return;
  Bytes reply;
  put(reply, REPLY, 8);
  put(reply, HOST_MAC, 6);
  put(reply, HOST_IP, 4);
  put(reply, get(frame, MAC_HEADER + 8, 6), 6);
  put(reply, get(frame, MAC_HEADER + 14, 4), 4);
  queue_frame(TYPE_ARP, reply);
}

void Ethernet::send_datagram(const Bytes &frame) {
  const size_t udp = MAC_HEADER + IP_HEADER, data = udp + UDP_HEADER;
  if (get(frame, MAC_HEADER, 1) != 0x45 || get(frame, MAC_HEADER + 9, 1) != PROTOCOL_UDP ||
      get(frame, MAC_HEADER + 16, 4) != HOST_IP)
    return;
  const size_t length = get(frame, udp + 4, 2);
  if (length < UDP_HEADER || udp + length > frame.size())
    throw std::runtime_error("the system sent a datagram that is longer than its frame");
  sockaddr_in receiver{};
  receiver.sin_family = AF_INET;
  receiver.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  receiver.sin_port = htons(static_cast<uint16_t>(get(frame, udp + 2, 2)));
  // Whoever asked may have gone, and a datagram may be lost.
  (void)sendto(socket_, frame.data() + data, length - UDP_HEADER, 0,
               reinterpret_cast<sockaddr *>(&receiver), sizeof receiver);
}

#endif
