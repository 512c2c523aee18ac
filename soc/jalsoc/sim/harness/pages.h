// Large pages for the simulator's code and data.
#pragma once

#include <cstddef>
#include <vector>

// Where this program's code may lie in physical memory. A cycle runs through all of the generated
// code, which is larger than the first-level cache: how fast it comes from the next level depends
// on its physical addresses (and, in a virtual machine, on the host's), which nobody here can
// choose or see. The same simulator is up to a quarter slower in one place than in another. So
// several places are tried, and a good one is kept.
class CodePlaces {
 public:
  CodePlaces();
  ~CodePlaces();
  CodePlaces(const CodePlaces &) = delete;
  CodePlaces &operator=(const CodePlaces &) = delete;

  // Moves the code to a place where it has not been yet. False if there is none, or if the system
  // offers no large pages.
  bool next();

 private:
  std::vector<void *> copies_;
  size_t used_ = 0;
};
