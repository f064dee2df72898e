#include "settings.h"

#include <cmath>
#include <limits>
#include <locale>
#include <sstream>

#include "digital_fraction.h"

namespace hetc {
namespace {

constexpr int64_t kMostInt = std::numeric_limits<int64_t>::max();

template <typename Value>
struct Choice {
  const char* name;
  Value value;
};

constexpr Choice<Mode> kModes[] = {
    {"exact", Mode::kExact}, {"converters", Mode::kConverters}, {"noisy", Mode::kNoisy}};
constexpr Choice<NoiseForm> kNoiseForms[] = {{"none", NoiseForm::kNone},
                                             {"differential-pair", NoiseForm::kDifferentialPair},
                                             {"gaussian", NoiseForm::kGaussian}};
constexpr Choice<Store> kStores[] = {
    {"bfloat16", Store::kBfloat16}, {"float32", Store::kFloat32}, {"int8", Store::kInt8}};

template <typename Value, size_t count>
Value choose(const Choice<Value> (&choices)[count], const std::string& text, const std::string& what) {
  std::string allowed;
  for (const Choice<Value>& choice : choices) {
    if (text == choice.name) return choice.value;
    allowed += (allowed.empty() ? "" : ", ") + std::string(choice.name);
  }
  throw Error(what + ": '" + text + "' is not allowed; allowed: " + allowed);
}

uint64_t parse_seed(const std::string& text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  int64_t value = -1;
  if (!digits || !(stream >> value) || value < 0)
    throw Error("session entry hetc.seed: '" + text +
                "' is not allowed; allowed: integers from 0 to 2^63 - 1");
  return static_cast<uint64_t>(value);
}

float parse_noise_scale(const std::string& text) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  float value = -1;
  const bool plain = !text.empty() && text.find_first_not_of("0123456789.eE+-") == std::string::npos;
  if (!plain || !(stream >> value) || stream.peek() != std::char_traits<char>::eof() || !(value >= 0) ||
      !std::isfinite(value))
    throw Error("session entry hetc.noise_scale: '" + text + "' is not allowed; allowed: numbers >= 0");
  return value;
}

float real_at_least(const KernelInfo& info, const char* attribute, float low, bool open) {
  const float value = info.real(attribute);
  if (!std::isfinite(value) || value < low || (open && value == low))
    throw Error("attribute '" + std::string(attribute) + "' is " + std::to_string(value) +
                "; allowed: finite, " + (open ? "> " : ">= ") + std::to_string(low));
  return value;
}

// Converters of one bit have no code but 0.
int converter_bits(const KernelInfo& info, const char* attribute, int64_t most) {
  const int64_t bits = info.integer(attribute);
  if (bits != 0 && (bits < 2 || bits > most))
    throw Error("attribute '" + std::string(attribute) + "' is " + std::to_string(bits) +
                "; allowed: 0 or 2.." + std::to_string(most));
  return static_cast<int>(bits);
}

// Whether the session's digital fraction makes this node digital.
bool runs_digital(const KernelInfo& info, const SessionEntries& session) {
  const int64_t group_size = integer_between(info, "group_size", 0, kMostInt);
  const int64_t rank = integer_between(info, "rank", 0, group_size == 0 ? kMostInt : group_size - 1);
  const int64_t compiled = integer_between(info, "digital_count", 0, group_size);
  if (!session.digital_fraction || group_size == 0) return false;
  const int64_t count = digital_count(*session.digital_fraction, group_size);
  if (count < compiled)
    throw Error("session entry hetc.digital_frac: " + *session.digital_fraction + " keeps " +
                std::to_string(count) + " of " + std::to_string(group_size) + " digital, but " +
                std::to_string(compiled) +
                " were compiled digital; give a higher fraction or compile at a lower one");
  return rank < count;
}

}  // namespace

float Settings::levels() const {
  return dac_bits == 0 ? 1.0f : static_cast<float>((1 << (dac_bits - 1)) - 1);
}

float Settings::adc_limit() const {
  return adc_bits == 0 ? 0.0f : static_cast<float>((1 << (adc_bits - 1)) - 1);
}

int64_t integer_between(const KernelInfo& info, const char* attribute, int64_t low, int64_t high) {
  const int64_t value = info.integer(attribute);
  if (value < low || value > high)
    throw Error("attribute '" + std::string(attribute) + "' is " + std::to_string(value) +
                "; allowed: " + std::to_string(low) + ".." + std::to_string(high));
  return value;
}

SessionEntries read_session(const KernelInfo& info) {
  SessionEntries session;
  for (const auto& [key, value] : info.config_entries()) {
    if (key == "hetc.mode") {
      session.mode = choose(kModes, value, "session entry hetc.mode");
    } else if (key == "hetc.seed") {
      session.seed = parse_seed(value);
    } else if (key == "hetc.noise_scale") {
      session.noise_scale = parse_noise_scale(value);
    } else if (key == "hetc.store") {
      session.store = choose(kStores, value, "session entry hetc.store");
    } else if (key == "hetc.digital_frac") {
      digital_count(value, 1);
      session.digital_fraction = value;
    } else if (key == "hetc.stats_file") {
      session.stats_file = value;
    } else {
      throw Error("session entry " + key +
                  " is not known; known: hetc.mode, hetc.seed, hetc.noise_scale, "
                  "hetc.store, hetc.digital_frac, hetc.stats_file");
    }
  }
  return session;
}

Settings read_settings(const KernelInfo& info) {
  const SessionEntries session = read_session(info);
  Settings settings{};
  settings.mode = choose(kModes, info.text("mode"), "attribute 'mode'");
  settings.transpose_weight = integer_between(info, "transpose_weight", 0, 1) == 1;
  settings.tile_rows = static_cast<size_t>(integer_between(info, "tile_rows", 1, kMostInt));
  integer_between(info, "tile_columns", 1, kMostInt);
  settings.dac_bits = converter_bits(info, "dac_bits", 16);
  settings.adc_bits = converter_bits(info, "adc_bits", 24);
  settings.out_bound = real_at_least(info, "out_bound", 0.0f, true);
  settings.noise_form = choose(kNoiseForms, info.text("noise_form"), "attribute 'noise_form'");
  settings.noise_sigma = info.reals("noise_sigma");
  for (float coefficient : settings.noise_sigma)
    if (!std::isfinite(coefficient))
      throw Error("attribute 'noise_sigma' has a coefficient that is not finite");
  settings.noise_scale = real_at_least(info, "noise_scale", 0.0f, false);
  settings.seed = static_cast<uint64_t>(integer_between(info, "seed", 0, kMostInt));
  settings.store = session.store.value_or(Store::kBfloat16);

  settings.stats_file = session.stats_file;
  settings.mode = session.mode.value_or(settings.mode);
  settings.seed = session.seed.value_or(settings.seed);
  settings.noise_scale = session.noise_scale.value_or(settings.noise_scale);
  if (runs_digital(info, session)) settings.mode = Mode::kExact;
  const bool quiet = settings.noise_form == NoiseForm::kNone || settings.noise_scale == 0.0f;
  if (settings.mode == Mode::kNoisy && quiet) settings.mode = Mode::kConverters;
  return settings;
}

}  // namespace hetc
