// The device attributes of a node, and the noise of one matrix that follows from them.
#include "crossbar/device.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "ort/attributes.h"
#include "ort/status.h"

namespace hetc {
namespace {

constexpr Choice<NoiseForm> kNoiseForms[] = {{"none", NoiseForm::kNone},
                                             {"differential-pair", NoiseForm::kDifferentialPair},
                                             {"gaussian", NoiseForm::kGaussian}};
constexpr Choice<Compensation> kCompensations[] = {
    {"none", Compensation::kNone}, {"global", Compensation::kGlobal}, {"column", Compensation::kColumn}};

std::vector<CurvePiece> read_curve(const KernelInfo& info, const char* attribute) {
  constexpr size_t kNumbers = sizeof(CurvePiece) / sizeof(float);
  const std::vector<float> values = finite_reals(info, attribute);
  if (values.size() % kNumbers != 0)
    throw Error("attribute '" + std::string(attribute) + "' has " + std::to_string(values.size()) +
                " numbers; allowed: a multiple of " + std::to_string(kNumbers));
  std::vector<CurvePiece> pieces;
  for (auto value = values.begin(); value != values.end();) {
    CurvePiece piece;
    piece.start = *value++;
    piece.low = *value++;
    piece.high = *value++;
    piece.logarithm = *value++;
    piece.power = *value++;
    piece.exponent = *value++;
    for (float& coefficient : piece.cubic) coefficient = *value++;
    pieces.push_back(piece);
  }
  return pieces;
}

Curve view(const std::vector<CurvePiece>& pieces) { return {pieces.data(), pieces.size()}; }

// The polynomials of noise_sigma that hold at drift_time: the first ones at 0.
std::vector<float> sigma_at(const std::vector<float>& sigma, const std::vector<float>& times, size_t pieces,
                            float drift_time) {
  const size_t count = std::max<size_t>(1, times.size());
  if (sigma.size() % (count * pieces) != 0)
    throw Error("attribute 'noise_sigma' has " + std::to_string(sigma.size()) +
                " coefficients; allowed: a multiple of " + std::to_string(count * pieces) +
                ", equally many for each of noise_times and each piece of noise_sigma_breaks");
  const auto at = std::find(times.begin(), times.end(), drift_time);
  const size_t length = sigma.size() / count;
  const size_t begin = at == times.end() ? 0 : length * static_cast<size_t>(at - times.begin());
  return {sigma.begin() + static_cast<ptrdiff_t>(begin),
          sigma.begin() + static_cast<ptrdiff_t>(begin + length)};
}

}  // namespace

Noise Device::noise(uint32_t stream) const {
  const double elapsed = static_cast<double>(drift_time) + drift_reference;
  const double read = flicker_read_time;
  const double reading = std::log((elapsed + read) / (2 * read));
  Noise noise{};
  noise.form = form;
  noise.sigma = sigma.data();
  noise.sigma_count = sigma.size() / (breaks.size() + 1);
  noise.breaks = breaks.data();
  noise.break_count = breaks.size();
  noise.floor = floor;
  noise.offset = offset;
  noise.scale = scale;
  noise.seed = seed;
  noise.stream = stream;
  noise.drifts = drifts();
  noise.drift_mean = view(drift_mean);
  noise.drift_deviation = view(drift_deviation);
  noise.drift_logarithm = static_cast<float>(std::log(elapsed / drift_reference));
  noise.flickers = flickers();
  noise.flicker_deviation = view(flicker_deviation);
  noise.flicker_spread = static_cast<float>(flicker_noise * std::sqrt(std::max(0.0, reading)));
  noise.reading = 2 * read_seed + 1;
  return noise;
}

Device read_device(const KernelInfo& info, const SessionEntries& session, bool noisy) {
  Device device{};
  device.form = choose_attribute(info, kNoiseForms, "noise_form");
  device.breaks = finite_reals(info, "noise_sigma_breaks");
  device.floor = real_at_least(info, "noise_floor", 0);
  device.offset = real_at_least(info, "noise_offset", 0);
  device.scale = real_at_least(info, "noise_scale", 0);
  device.drift_time = real_at_least(info, "drift_time", 0);
  device.drift_reference = real_at_least(info, "drift_reference", 0, true);
  device.drift_mean = read_curve(info, "drift_mean");
  device.drift_deviation = read_curve(info, "drift_deviation");
  device.compensation = choose_attribute(info, kCompensations, "drift_compensation");
  device.flicker_noise = real_at_least(info, "flicker_noise", 0);
  device.flicker_deviation = read_curve(info, "flicker_deviation");
  device.flicker_read_time = real_at_least(info, "flicker_read_time", 0, true);
  device.seed = static_cast<uint64_t>(integer_between(info, "seed", 0, std::numeric_limits<int64_t>::max()));
  device.read_seed =
      static_cast<uint32_t>(integer_between(info, "read_seed", 0, std::numeric_limits<int32_t>::max()));
  device.seed = session.seed.value_or(device.seed);
  device.read_seed = static_cast<uint32_t>(session.read_seed.value_or(device.read_seed));
  device.scale = session.noise_scale.value_or(device.scale);
  device.drift_time = session.drift_time.value_or(device.drift_time);
  const std::vector<float> times = finite_reals(info, "noise_times");
  device.sigma =
      sigma_at(finite_reals(info, "noise_sigma"), times, device.breaks.size() + 1, device.drift_time);

  if (device.form == NoiseForm::kGaussian && !(device.drift_mean.empty() && device.flicker_deviation.empty()))
    throw Error("attributes 'drift_mean' and 'flicker_deviation' need noise_form differential-pair");
  if (!noisy || device.form == NoiseForm::kNone) return device;
  const bool known =
      !device.drift_mean.empty() || std::find(times.begin(), times.end(), device.drift_time) != times.end();
  if (device.drift_time > 0 && !known)
    throw Error("no drift is known for drift_time " + std::to_string(device.drift_time) +
                " s; allowed with this noise: 0" + (times.empty() ? "" : " and the entries of noise_times"));
  if (device.flicker_noise > 0 && device.flicker_deviation.empty())
    throw Error("attribute 'flicker_noise' is above 0, but the device has no flicker_deviation");
  return device;
}

}  // namespace hetc
