// The device model of a node: how weights are programmed, how they age, and how an array is read.
#ifndef HETC_CROSSBAR_DEVICE_H_
#define HETC_CROSSBAR_DEVICE_H_

#include <cstdint>
#include <vector>

#include "ort/kernel_info.h"
#include "ort/session.h"
#include "vector/types.h"

namespace hetc {

enum class Compensation { kNone, kGlobal, kColumn };

struct Device {
  NoiseForm form;
  std::vector<float> sigma;  // one polynomial per break and one
  std::vector<float> breaks;
  float floor;
  float offset;
  float scale;
  float drift_time;
  float drift_reference;
  std::vector<CurvePiece> drift_mean, drift_deviation;
  Compensation compensation;
  float flicker_noise;
  std::vector<CurvePiece> flicker_deviation;
  float flicker_read_time;
  uint64_t seed;
  uint32_t read_seed;

  bool drifts() const { return form != NoiseForm::kNone && drift_time > 0 && !drift_mean.empty(); }
  bool flickers() const { return form != NoiseForm::kNone && flicker_noise > 0; }
  // Whether programmed weights differ from the clean ones.
  bool programs() const { return form != NoiseForm::kNone && (scale != 0 || drifts() || flickers()); }

  // The noise of the matrix with this stream; refers to this object.
  Noise noise(uint32_t stream) const;
};

// `noisy`: whether the node is going to draw; a drift that is not known is an error only then.
Device read_device(const KernelInfo& info, const SessionEntries& session, bool noisy);

}  // namespace hetc

#endif  // HETC_CROSSBAR_DEVICE_H_
