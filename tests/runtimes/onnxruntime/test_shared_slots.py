"""The process's store of programmed matrices: found in one step, forgotten at once, made once."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from kernel_runs import MATMUL, NOISY, open_kernel
from places import ROOT
from programmings import programmings
from single_node import single_node_model

PROGRAM = r"""
#include <cassert>
#include <cstdio>
#include <vector>
#include "crossbar/shared_slots.h"

static size_t looked_at = 0;

struct Key {
  int number;
  bool operator==(const Key& other) const { ++looked_at; return number == other.number; }
};

template <>
struct std::hash<Key> {
  size_t operator()(const Key& key) const noexcept { ++looked_at; return static_cast<size_t>(key.number); }
};

int main() {
  constexpr int kKeys = 44000;
  auto slots = std::make_shared<hetc::SharedSlots<Key, int>>();
  int made = 0;
  const auto find = [&](int number) {
    return slots->find(Key{number}, [&] { ++made; return std::make_unique<const int>(number); });
  };
  std::vector<std::shared_ptr<const int>> held;
  for (int number = 0; number < kKeys; ++number) held.push_back(find(number));
  for (int number = 0; number < kKeys; ++number)
    assert(find(number) == held[number] && *held[number] == number);
  assert(made == kKeys && slots->size() == kKeys);
  while (!held.empty()) {
    held.pop_back();
    assert(slots->size() == held.size());
  }
  assert(looked_at < size_t{12} * kKeys);  // two finds and an end of each key
  try {
    slots->find(Key{1}, []() -> std::unique_ptr<const int> { throw 1; });
    assert(false);
  } catch (int) {
  }
  assert(slots->size() == 0);
  std::shared_ptr<const int> last = find(7);
  slots.reset();
  assert(*last == 7);  // a value may outlive the rest
  std::puts("done");
}
"""


def test_a_key_is_found_in_one_step_and_forgotten_with_its_last_holder(tmp_path: Path) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    source, binary = tmp_path / "slots.cc", tmp_path / "slots"
    source.write_text(PROGRAM)
    command = [compiler, "-std=c++17", "-O1", f"-I{ROOT / 'runtimes/onnxruntime/csrc'}"]
    subprocess.run([*command, str(source), "-o", str(binary), "-pthread"], check=True)
    assert subprocess.run([binary], capture_output=True, text=True, check=True).stdout == "done\n"


def test_sessions_that_race_program_a_matrix_once() -> None:
    w = np.random.default_rng(21).normal(size=(72, 96)).astype(np.float32)
    model = single_node_model("AnalogMatMul", w[:1], {"w": w}, {**MATMUL, **NOISY})
    sessions = [open_kernel(model, {"hetc.seed": "4242"}) for _ in range(8)]
    before = programmings()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda session: session.run(None, {"x": w[:1]}), sessions * 4))
    assert programmings() == before + 1
    again = open_kernel(model, {"hetc.seed": "4242"})
    again.run(None, {"x": w[:1]})
    assert programmings() == before + 1
    del sessions, again
    open_kernel(model, {"hetc.seed": "4242"}).run(None, {"x": w[:1]})
    assert programmings() == before + 2
