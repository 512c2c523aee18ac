#include "endpoints.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace {

[[noreturn]] void fail(const std::string &what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

void make_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

Endpoints::Endpoints(uint16_t port) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener_ < 0) fail("cannot open a socket");
  const int on = 1;
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  socklen_t length = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr *>(&address), length) < 0 ||
      listen(listener_, 4) < 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr *>(&address), &length) < 0)
    fail("cannot listen on 127.0.0.1:" + std::to_string(port));
  port_ = ntohs(address.sin_port);
}

Endpoints::~Endpoints() {
  for (int fd : {listener_, client_, terminal_, terminal_slave_})
    if (fd >= 0) close(fd);
}

std::string Endpoints::open_terminal() {
  char name[64];
  if (openpty(&terminal_, &terminal_slave_, name, nullptr, nullptr) < 0)
    fail("cannot open a pseudo terminal");
  // The slave stays open here, so that clients may come and go.
  termios settings;
  tcgetattr(terminal_slave_, &settings);
  cfmakeraw(&settings);
  tcsetattr(terminal_slave_, TCSANOW, &settings);
  make_nonblocking(terminal_);
  return name;
}

bool Endpoints::active() {
  const bool result = received_ || client_ >= 0;
  received_ = false;
  return result;
}

void Endpoints::poll() {
  // A negative descriptor is skipped.
  const short readable = input_.size() < INPUT_LIMIT ? POLLIN : 0;
  pollfd fds[] = {{listener_, POLLIN, 0}, {client_, readable, 0}, {terminal_, readable, 0}};
  if (::poll(fds, 3, 0) > 0) {
    if (fds[1].revents) read_from(client_);
    if (fds[2].revents) read_from(terminal_);
    // A client that has just left makes room for the next one.
    if (fds[0].revents) accept_client();
  }
  flush();
}

void Endpoints::accept_client() {
  const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  // Two clients would read each other's answers.
  if (client_ >= 0) {
    close(fd);
    return;
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  client_ = fd;
}

void Endpoints::read_from(int &fd) {
  uint8_t buffer[4096];
  const ssize_t count = read(fd, buffer, sizeof buffer);
  if (count > 0) {
    input_.insert(input_.end(), buffer, buffer + count);
    last_sender_ = fd;
    received_ = true;
  } else if (fd == client_ && (count == 0 || !would_block())) {
    close_client();
  }
}

void Endpoints::flush() {
  if (output_.empty()) return;
  if (last_sender_ < 0) {
    output_.clear();
    return;
  }
  const ssize_t count = write(last_sender_, output_.data(), output_.size());
  if (count > 0) {
    output_.erase(output_.begin(), output_.begin() + count);
  } else if (count < 0 && !would_block() && last_sender_ == client_) {
    close_client();
  }
}

void Endpoints::close_client() {
  if (last_sender_ == client_) {
    last_sender_ = -1;
    output_.clear();
  }
  close(client_);
  client_ = -1;
}
