#include "control.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <iomanip>
#include <sstream>
#include <vector>

namespace {

constexpr size_t MAX_PEEK = 1 << 20;

}  // namespace

std::string quoted(const std::string &text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) >= ' ') result += c;
  }
  return result + "\"";
}

bool emit(const std::string &json) {
  return std::fputs((json + "\n").c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
}

void emit_error(const std::string &what, const std::string &hint) {
  emit("{\"event\": \"error\", \"kind\": \"SimulatorError\", \"what\": " + quoted(what) +
       ", \"hint\": " + quoted(hint) + "}");
}

Control::Control(Design &design, bool attached, double clock_hz)
    : design_(design), attached_(attached), clock_hz_(clock_hz) {}

std::string Control::poll() {
  pollfd fd{STDIN_FILENO, POLLIN, 0};
  if (!open_ || ::poll(&fd, 1, 0) <= 0) return "";
  char buffer[4096];
  const ssize_t count = read(STDIN_FILENO, buffer, sizeof buffer);
  if (count <= 0) {
    open_ = false;
    return attached_ ? "stdin" : "";
  }
  partial_.append(buffer, static_cast<size_t>(count));
  for (size_t end; (end = partial_.find('\n')) != std::string::npos;) {
    const std::string line = partial_.substr(0, end);
    partial_.erase(0, end + 1);
    const std::string reason = execute(line);
    if (!reason.empty()) return reason;
  }
  return "";
}

std::string Control::execute(const std::string &line) {
  const size_t space = line.find(' ');
  const std::string command = line.substr(0, space);
  const std::string arguments = space == std::string::npos ? "" : line.substr(space + 1);
  if (command == "quit") return "quit";
  if (command == "cycles") {
    const uint64_t cycles = design_.cycles();
    emit("{\"event\": \"cycles\", \"cycles\": " + std::to_string(cycles) +
         ", \"seconds\": " + std::to_string(static_cast<double>(cycles) / clock_hz_) + "}");
  } else if (command == "peek") {
    peek(arguments);
  } else if (command == "poke") {
    poke(arguments);
  } else if (!command.empty()) {
    emit_error("unknown command " + line, "commands: cycles, peek, poke, quit");
  }
  return "";
}

void Control::peek(const std::string &arguments) {
  std::istringstream stream(arguments);
  uint64_t address = 0;
  size_t count = 0;
  stream >> std::setbase(0) >> address >> count;
  std::vector<uint8_t> data(count <= MAX_PEEK ? count : 0);
  if (stream.fail() || count > MAX_PEEK || !design_.read_dram(address, data.data(), count)) {
    emit_error("cannot read DRAM: " + arguments, "peek ADDRESS COUNT, within DRAM");
    return;
  }
  std::string hex;
  for (const uint8_t byte : data) {
    constexpr char DIGITS[] = "0123456789abcdef";
    hex += DIGITS[byte >> 4];
    hex += DIGITS[byte & 15];
  }
  emit("{\"event\": \"peek\", \"address\": " + std::to_string(address) + ", \"data\": \"" + hex +
       "\"}");
}

void Control::poke(const std::string &arguments) {
  std::istringstream stream(arguments);
  uint64_t address = 0;
  std::string hex;
  stream >> std::setbase(0) >> address >> hex;
  std::vector<uint8_t> data;
  bool good = !stream.fail() && hex.size() % 2 == 0 &&
              hex.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  for (size_t i = 0; good && i < hex.size(); i += 2)
    data.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i, 2), nullptr, 16)));
  if (!good || !design_.write_dram(address, data.data(), data.size())) {
    emit_error("cannot write DRAM: " + arguments, "poke ADDRESS HEXBYTES, within DRAM");
    return;
  }
  emit("{\"event\": \"done\", \"command\": \"poke\"}");
}
