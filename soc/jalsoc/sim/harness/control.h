// Commands on standard input, one per line; events on standard output, one JSON object per line.
#pragma once

#include <cstdint>
#include <string>

#include "design.h"

class Control {
 public:
  // `attached`: the end of standard input ends the simulation. `clock_hz`: what a second is.
  Control(Design &design, bool attached, double clock_hz);

  // Carries out what has come in. Returns a reason to stop, or an empty string.
  std::string poll();

 private:
  std::string execute(const std::string &line);
  void peek(const std::string &arguments);
  void poke(const std::string &arguments);

  Design &design_;
  bool attached_;
  double clock_hz_;
  bool open_ = true;
  std::string partial_;
};

// Writes a line to standard output. False if nobody reads there any more.
bool emit(const std::string &json);

// An event that reports an error.
void emit_error(const std::string &what, const std::string &hint);

// A string as JSON.
std::string quoted(const std::string &text);
