// Eight chains of multiply and rotate, as wide as a processor multiplies at once.
#include "crossbar/content_hash.h"

#include <cstring>

namespace hetc {
namespace {

constexpr size_t kLanes = 8;
constexpr uint64_t kPrime = 0x9FB21C651E98DF25u;

uint64_t mix(uint64_t x) {  // the finaliser of MurmurHash3
  x = (x ^ x >> 33) * 0xFF51AFD7ED558CCDu;
  x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53u;
  return x ^ x >> 33;
}

}  // namespace

// Eight chains of multiply and rotate keep the multipliers busy; both words absorb all of them.
void ContentHash::add(const void* data, size_t bytes) {
  const unsigned char* source = static_cast<const unsigned char*>(data);
  uint64_t lane[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lane[i] = mix(low + i) ^ high;
  size_t position = 0;
  for (; position + sizeof lane <= bytes; position += sizeof lane) {
    uint64_t word[kLanes];
    std::memcpy(word, source + position, sizeof word);
    for (size_t i = 0; i < kLanes; ++i) {
      lane[i] = (lane[i] ^ word[i]) * kPrime;
      lane[i] = lane[i] << 29 | lane[i] >> 35;
    }
  }
  uint64_t rest[kLanes] = {};
  if (bytes > position) std::memcpy(rest, source + position, bytes - position);
  low = mix(low ^ bytes);
  for (size_t i = 0; i < kLanes; ++i) {
    const uint64_t last = mix(lane[i] ^ mix(rest[i] + i + 1));
    low = mix(low ^ last);
    high = mix(high * kPrime + last);
  }
}

}  // namespace hetc
