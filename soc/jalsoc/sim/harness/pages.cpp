#include "pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

// The end of the code, which the linker defines.
extern "C" char etext;

namespace {

constexpr uintptr_t LARGE_PAGE = 2 << 20;

constexpr size_t PLACES = 16;

constexpr uintptr_t round_down(uintptr_t value) { return value & ~(LARGE_PAGE - 1); }

constexpr uintptr_t round_up(uintptr_t value) { return round_down(value + LARGE_PAGE - 1); }

uintptr_t code_end() { return reinterpret_cast<uintptr_t>(&etext); }

// The program is linked so that code shares no large page with anything else.
uintptr_t code_start() { return round_down(reinterpret_cast<uintptr_t>(&code_start)); }

size_t code_size() { return round_up(code_end()) - code_start(); }

// A copy of the code in large pages, or nullptr.
void *copy_code() {
  const size_t size = code_size();
  void *area = mmap(nullptr, size + LARGE_PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) return nullptr;
  const uintptr_t first = reinterpret_cast<uintptr_t>(area), start = round_up(first);
  if (start > first) munmap(area, start - first);
  if (start < first + LARGE_PAGE)
    munmap(reinterpret_cast<void *>(start + size), first + LARGE_PAGE - start);
  void *copy = reinterpret_cast<void *>(start);
  if (madvise(copy, size, MADV_HUGEPAGE) == 0) {
    std::memcpy(copy, reinterpret_cast<void *>(code_start()), code_end() - code_start());
    if (mprotect(copy, size, PROT_READ | PROT_EXEC) == 0) return copy;
  }
  munmap(copy, size);
  return nullptr;
}

}  // namespace

// All copies exist at once: a place that was given back would be offered again.
CodePlaces::CodePlaces() {
  while (copies_.size() < PLACES) {
    void *copy = copy_code();
    if (copy == nullptr) return;
    copies_.push_back(copy);
  }
}

CodePlaces::~CodePlaces() {
  for (; used_ < copies_.size(); used_++) munmap(copies_[used_], code_size());
}

bool CodePlaces::next() {
  if (used_ == copies_.size()) return false;
  const size_t size = code_size();
  void *const place = reinterpret_cast<void *>(code_start());
  return mremap(copies_[used_++], size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place;
}

// The model with its memories is one object, aligned to cache lines and larger than a large page.
void *operator new(std::size_t size, std::align_val_t alignment) {
  const bool large = size >= LARGE_PAGE;
  const size_t unit = large ? LARGE_PAGE : static_cast<size_t>(alignment);
  const size_t bytes = (size + unit - 1) / unit * unit;
  void *result = std::aligned_alloc(unit, bytes);
  if (result == nullptr) throw std::bad_alloc();
  if (large) madvise(result, bytes, MADV_HUGEPAGE);
  return result;
}

void operator delete(void *pointer, std::align_val_t) noexcept { std::free(pointer); }

void operator delete(void *pointer, std::size_t, std::align_val_t) noexcept { std::free(pointer); }
