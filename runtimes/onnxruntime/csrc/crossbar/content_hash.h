// A 128-bit hash of contents, so that equal matrices share one programmed copy in a process.
#ifndef HETC_CROSSBAR_CONTENT_HASH_H_
#define HETC_CROSSBAR_CONTENT_HASH_H_

#include <cstddef>
#include <cstdint>
#include <functional>

namespace hetc {

struct ContentHash {
  uint64_t low = 0x9E3779B97F4A7C15u;
  uint64_t high = 0xC2B2AE3D27D4EB4Fu;

  bool operator==(const ContentHash& other) const { return low == other.low && high == other.high; }

  void add(const void* data, size_t bytes);

  template <typename Value>
  void add(const Value& value) {
    add(&value, sizeof value);
  }
};

}  // namespace hetc

template <>
struct std::hash<hetc::ContentHash> {
  size_t operator()(const hetc::ContentHash& hash) const noexcept { return static_cast<size_t>(hash.low); }
};

#endif  // HETC_CROSSBAR_CONTENT_HASH_H_
