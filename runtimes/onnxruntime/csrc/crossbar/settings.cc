// The attributes of crossbars, one by one, and the entries that beat them.
#include "crossbar/settings.h"

#include <limits>

#include "ort/attributes.h"
#include "ort/digital_fraction.h"
#include "ort/status.h"

namespace hetc {
namespace {

constexpr int64_t kMostInt = std::numeric_limits<int64_t>::max();

constexpr Choice<WeightNoise> kWeightNoises[] = {{"additive", WeightNoise::kAdditive},
                                                 {"pcm-read", WeightNoise::kPcmRead}};
// Yes-or-no attributes that are written as words.
constexpr Choice<bool> kRoundings[] = {{"nearest", false}, {"stochastic", true}};
constexpr Choice<bool> kBoundManagements[] = {{"none", false}, {"iterative", true}};
constexpr Choice<bool> kScaleModes[] = {{"column", false}, {"tile", true}};

// Converters of one bit have no code but 0.
int converter_bits(const KernelInfo& info, const char* attribute, int64_t most) {
  const int64_t bits = info.integer(attribute);
  if (bits != 0 && (bits < 2 || bits > most))
    throw Error("attribute '" + std::string(attribute) + "' is " + std::to_string(bits) +
                "; allowed: 0 or 2.." + std::to_string(most));
  return static_cast<int>(bits);
}

// What a node's group says about it.
struct Group {
  int64_t digital_count;
  bool digital;  // the session's fraction reaches the node
};

Group read_group(const KernelInfo& info, const SessionEntries& session) {
  const int64_t size = integer_between(info, "group_size", 0, kMostInt);
  const int64_t rank = integer_between(info, "rank", 0, size == 0 ? kMostInt : size - 1);
  const int64_t compiled = integer_between(info, "digital_count", 0, size == 0 ? kMostInt : size);
  if (!session.digital_fraction || size == 0) return {compiled, false};
  const int64_t count = digital_count(*session.digital_fraction, size);
  if (count < compiled)
    throw Error("session entry hetc.digital_frac: " + *session.digital_fraction + " keeps " +
                std::to_string(count) + " of " + std::to_string(size) + " digital, but " +
                std::to_string(compiled) +
                " were compiled digital; give a higher fraction or compile at a lower one");
  return {count, rank < count};
}

}  // namespace

float Settings::levels() const {
  return dac_bits == 0 ? 1.0f : static_cast<float>((1 << (dac_bits - 1)) - 1);
}

float Settings::adc_limit() const {
  return adc_bits == 0 ? 0.0f : static_cast<float>((1 << (adc_bits - 1)) - 1);
}

Settings read_settings(const KernelInfo& info) {
  const SessionEntries session = read_session(info);
  Settings settings{};
  settings.mode = choose_attribute(info, kModes, "mode");
  settings.transpose_weight = integer_between(info, "transpose_weight", 0, 1) == 1;
  settings.tile_rows = static_cast<size_t>(integer_between(info, "tile_rows", 1, kMostInt));
  settings.tile_columns = static_cast<size_t>(integer_between(info, "tile_columns", 1, kMostInt));
  settings.dac_bits = converter_bits(info, "dac_bits", 16);
  settings.adc_bits = converter_bits(info, "adc_bits", 24);
  settings.out_bound = real_at_least(info, "out_bound", 0.0f, true);
  settings.scale_per_tile = choose_attribute(info, kScaleModes, "scale_mode");
  settings.manages_bounds = choose_attribute(info, kBoundManagements, "bound_management");
  settings.rounds_randomly = choose_attribute(info, kRoundings, "dac_rounding") && settings.dac_bits != 0;
  settings.disturbance.output_noise = real_at_least(info, "output_noise", 0);
  settings.disturbance.weight_noise = real_at_least(info, "weight_noise", 0);
  settings.disturbance.weight_noise_form = choose_attribute(info, kWeightNoises, "weight_noise_form");
  settings.disturbance.ir_drop = real_at_least(info, "ir_drop", 0);
  settings.store = session.store.value_or(Store::kBfloat16);

  settings.stats_file = session.stats_file;
  settings.mode = session.mode.value_or(settings.mode);
  const Group group = read_group(info, session);
  settings.digital_count = group.digital_count;
  if (group.digital) settings.mode = Mode::kExact;
  settings.device = read_device(info, session, settings.mode == Mode::kNoisy);
  const bool quiet = !settings.device.programs() && !settings.disturbance.any() && !settings.rounds_randomly;
  if (settings.mode == Mode::kNoisy && quiet) settings.mode = Mode::kConverters;
  if (settings.mode != Mode::kNoisy) settings.rounds_randomly = false;
  settings.manages_bounds = settings.manages_bounds && settings.adc_bits != 0;
  return settings;
}

}  // namespace hetc
