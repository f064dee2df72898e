// Where each session entry is read: one line of a table.
#include "ort/session.h"

#include <cmath>
#include <limits>
#include <locale>
#include <sstream>

#include "ort/digital_fraction.h"
#include "ort/status.h"

namespace hetc {
namespace {

constexpr Choice<Store> kStores[] = {
    {"bfloat16", Store::kBfloat16}, {"float32", Store::kFloat32}, {"int8", Store::kInt8}};

// Whole numbers up to `most`.
uint64_t parse_integer(const std::string& key, const std::string& text, int64_t most, const char* most_text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  int64_t value = -1;
  if (!digits || !(stream >> value) || value < 0 || value > most)
    throw Error("session entry " + key + ": '" + text + "' is not allowed; allowed: integers from 0 to " +
                most_text);
  return static_cast<uint64_t>(value);
}

// Numbers >= 0.
float parse_number(const std::string& key, const std::string& text) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  float value = -1;
  const bool plain = !text.empty() && text.find_first_not_of("0123456789.eE+-") == std::string::npos;
  if (!plain || !(stream >> value) || stream.peek() != std::char_traits<char>::eof() || !(value >= 0) ||
      !std::isfinite(value))
    throw Error("session entry " + key + ": '" + text + "' is not allowed; allowed: numbers >= 0");
  return value;
}

using Key = const std::string&;
using Text = const std::string&;
using Session = SessionEntries&;

struct Entry {
  const char* key;
  void (*read)(Key key, Text text, Session session);
};

constexpr Entry kEntries[] = {
    {"hetc.mode", [](Key key, Text text,
                     Session session) { session.mode = choose(kModes, text, "session entry " + key); }},
    {"hetc.seed",
     [](Key key, Text text, Session session) {
       session.seed = parse_integer(key, text, std::numeric_limits<int64_t>::max(), "2^63 - 1");
     }},
    {"hetc.read_seed",
     [](Key key, Text text, Session session) {
       session.read_seed = parse_integer(key, text, std::numeric_limits<int32_t>::max(), "2^31 - 1");
     }},
    {"hetc.noise_scale",
     [](Key key, Text text, Session session) { session.noise_scale = parse_number(key, text); }},
    {"hetc.drift_time",
     [](Key key, Text text, Session session) { session.drift_time = parse_number(key, text); }},
    {"hetc.store", [](Key key, Text text,
                      Session session) { session.store = choose(kStores, text, "session entry " + key); }},
    {"hetc.digital_frac",
     [](Key, Text text, Session session) {
       digital_count(text, 1);  // throws for a text that is no fraction
       session.digital_fraction = text;
     }},
    {"hetc.stats_file", [](Key, Text text, Session session) { session.stats_file = text; }},
};

void read_entry(Key key, Text text, Session session) {
  std::string known;
  for (const Entry& entry : kEntries) {
    if (key == entry.key) return entry.read(key, text, session);
    known += (known.empty() ? "" : ", ") + std::string(entry.key);
  }
  throw Error("session entry " + key + " is not known; known: " + known);
}

}  // namespace

SessionEntries read_session(const KernelInfo& info) {
  SessionEntries session;
  for (const auto& [key, text] : info.config_entries()) read_entry(key, text, session);
  return session;
}

}  // namespace hetc
