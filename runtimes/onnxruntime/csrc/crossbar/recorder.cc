// Counting, and the lines that are added to the file.
#include "crossbar/recorder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "ort/status.h"

namespace hetc {
namespace {

constexpr uint32_t kFiniteBins = 0x7f80;  // the top 16 bits of infinity
constexpr double kUnitsPerOne = 1 << 24;

std::string text(__int128 value) {
  const bool negative = value < 0;
  unsigned __int128 rest = negative ? -static_cast<unsigned __int128>(value) : value;
  std::string digits;
  do {
    digits += static_cast<char>('0' + static_cast<int>(rest % 10));
    rest /= 10;
  } while (rest != 0);
  if (negative) digits += '-';
  return {digits.rbegin(), digits.rend()};
}

// Kernels of one process end one after another or at once; each adds its lines whole.
bool append(const std::string& file, const std::string& lines) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  std::ofstream stream(file, std::ios::app | std::ios::binary);
  stream << lines << std::flush;
  return stream.good();
}

}  // namespace

Recorder::Recorder(std::string file, std::string unit, std::string site, std::vector<Slice> slices)
    : file_(std::move(file)),
      unit_(std::move(unit)),
      site_(std::move(site)),
      slices_(std::move(slices)),
      seen_(slices_.size()) {
  const std::string begin = unit_ + '\t' + site_ + '\t' + std::to_string(slices_.size()) + '\n';
  if (!append(file_, begin)) throw Error("session entry hetc.stats_file: " + file_ + " can't be written");
}

Recorder::~Recorder() {
  std::ostringstream lines;
  for (size_t s = 0; s < seen_.size(); ++s) {
    const Seen& seen = seen_[s];
    lines << unit_ << '\t' << site_ << '\t' << s << '\t' << rows_ << '\t' << seen.elements << '\t'
          << text(seen.sum) << '\t' << text(seen.squares) << '\t';
    const char* separator = "";
    for (const auto& [bin, count] : seen.bins) {
      lines << separator << bin << ':' << count;
      separator = " ";
    }
    lines << '\n';
  }
  append(file_, lines.str());
}

void Recorder::add(const float* x, size_t rows) {
  const size_t inputs = slices_.back().end;
  const std::lock_guard<std::mutex> lock(mutex_);
  rows_ += rows;
  counts_.resize(kFiniteBins);
  for (size_t s = 0; s < slices_.size(); ++s) {
    for (size_t row = 0; row < rows; ++row)
      add_slice(x + row * inputs + slices_[s].begin, slices_[s].end - slices_[s].begin, &seen_[s]);
    for (uint32_t bin = 0; bin < kFiniteBins; ++bin) {
      if (counts_[bin] == 0) continue;
      seen_[s].bins[bin] += counts_[bin];
      counts_[bin] = 0;
    }
  }
}

void Recorder::add_slice(const float* x, size_t count, Seen* seen) {
  for (size_t k = 0; k < count; ++k) {
    uint32_t bits;
    std::memcpy(&bits, &x[k], sizeof bits);
    const uint32_t bin = (bits & 0x7fffffffu) >> 16;
    if (bin >= kFiniteBins) continue;
    ++counts_[bin];
    ++seen->elements;
    const double value = x[k];
    seen->sum += static_cast<__int128>(std::nearbyint(value * kUnitsPerOne));
    seen->squares += static_cast<__int128>(std::nearbyint(value * value * kUnitsPerOne));
  }
}

}  // namespace hetc
