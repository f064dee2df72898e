// Values that are made once and shared while somebody holds them, each found by its key in one step.
#ifndef HETC_CROSSBAR_SHARED_SLOTS_H_
#define HETC_CROSSBAR_SHARED_SLOTS_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace hetc {

// Lives in a shared_ptr, for every value holds its map: a value may outlive all else.
template <typename Key, typename Value>
class SharedSlots : public std::enable_shared_from_this<SharedSlots<Key, Value>> {
 public:
  // The value of a key: what somebody holds, else what `make` returns as a unique_ptr. Whoever comes second
  // waits for the first, or makes it where the first threw.
  template <typename Make>
  std::shared_ptr<const Value> find(const Key& key, const Make& make) {
    const std::shared_ptr<Slot> slot = find_slot(key);
    const std::lock_guard<std::mutex> lock(slot->mutex);
    if (slot->value == nullptr) slot->value = make();
    return std::shared_ptr<const Value>(slot, slot->value.get());
  }

  // How many keys somebody holds.
  size_t size() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return slots_.size();
  }

 private:
  struct Slot {
    std::mutex mutex;
    std::unique_ptr<const Value> value;
  };

  std::shared_ptr<Slot> find_slot(const Key& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::weak_ptr<Slot>& entry = slots_[key];
    std::shared_ptr<Slot> slot = entry.lock();
    if (slot != nullptr) return slot;
    slot = std::shared_ptr<Slot>(new Slot, [map = this->shared_from_this(), key](Slot* last) {
      map->forget(key);
      delete last;
    });
    entry = slot;
    return slot;
  }

  void forget(const Key& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = slots_.find(key);
    // By now somebody may have asked for it again.
    if (found != slots_.end() && found->second.expired()) slots_.erase(found);
  }

  std::mutex mutex_;
  std::unordered_map<Key, std::weak_ptr<Slot>> slots_;
};

}  // namespace hetc

#endif  // HETC_CROSSBAR_SHARED_SLOTS_H_
