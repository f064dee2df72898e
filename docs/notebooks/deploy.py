# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# %% [markdown]
# # Deploy
#
# One bundle, six ways to run it. The sample is compiled with a quarter of its experts digital.

# %%
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

import hetc
from hetc.model.inputs import first_step

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "samples").is_dir())
work = Path(tempfile.mkdtemp())
bundle = hetc.compile(root / "samples/tiny_moe", work / "tiny_moe.hetc", digital_frac=0.25)
sorted(file.name for file in bundle.path.iterdir())

# %% [markdown]
# Before anything else: does the bundle do what its plan says? In exact mode it must equal the
# source model.

# %%
for check in hetc.verify(bundle, source=root / "samples/tiny_moe/model.onnx"):
    print(f"{check.status:8} {check.name}: {check.detail}")

# %% [markdown]
# ## Python
#
# `bundle.session` is an ordinary `onnxruntime.InferenceSession`. A seed is a programmed chip.

# %%
prompt = np.array([Tokenizer.from_file(str(bundle.path / "tokenizer.json")).encode("class Reader:").ids])
feeds = first_step(bundle.session(), prompt)  # the prompt, everything attended, an empty cache
exact = bundle.session(mode="exact").run(["logits"], feeds)[0]
for seed in range(3):
    noisy = bundle.session(seed=seed).run(["logits"], feeds)[0]
    print(f"chip {seed}: logits differ by {np.abs(noisy - exact).max():.3f}")

# %% [markdown]
# ## Any ONNX Runtime, with the bundle's library
#
# Nothing of hetc is needed where a bundle runs: its library is registered with the session.

# %%
options = onnxruntime.SessionOptions()
options.register_custom_ops_library(str(next((bundle.path / "lib").rglob("libhetc_ops*"))))
options.add_session_config_entry("hetc.seed", "2")
plain = onnxruntime.InferenceSession(bundle.path / "model.onnx", options)
np.abs(plain.run(["logits"], feeds)[0] - noisy).max()

# %% [markdown]
# ## C
#
# `samples/embed_c` is the same in a C program without headers of ONNX Runtime.

# %%
embed_c = root / "samples/embed_c"
subprocess.run(["make", "-s", "-C", embed_c, f"BUILD={work}", f"{work}/embed"], check=True)
runtime = next(Path(onnxruntime.__path__[0], "capi").glob("libonnxruntime.so.*"))
tokens = [str(token) for token in prompt[0]]
said = subprocess.run(
    [work / "embed", runtime, bundle.path, "hetc.seed=2", *tokens], check=True, capture_output=True, text=True
)
logits = np.array([float(line.split()[1]) for line in said.stdout.splitlines()])
np.abs(logits - noisy[0, -1]).max()

# %% [markdown]
# ## Without the library
#
# `bake` writes one chip's noise into the weights of a portable model: converters are left out,
# programming noise and drift stay.

# %%
baked = hetc.bake_bundle(bundle, work / "baked.hetc", seed=2, approximate=True)
portable = onnxruntime.InferenceSession(baked.path / "model.onnx")
np.abs(portable.run(["logits"], feeds)[0] - exact).max()

# %% [markdown]
# ## A device's toolchain
#
# `partition` cuts the bundle where data change sides, and writes the target conductances of each
# matrix.

# %%
parts = hetc.partition_bundle(bundle, work / "parts", conductances=True)
[(part.index, part.target, len(part.units)) for part in parts]

# %% [markdown]
# ## onnxruntime-genai
#
# A model that `hetc export` wrote brings a `genai_config.json`, and its bundle is a folder that
# onnxruntime-genai opens: `onnxruntime_genai.Model(str(bundle.path))`.
