# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Choose what to keep digital
#
# Analog crossbars add noise to every product. Which experts must stay digital, and how many?
# Everything here runs on a CPU in a minute, on the small trained mixture in `samples/tiny_moe`.

# %%
import tempfile
from pathlib import Path

import pandas as pd

import hetc
from hetc.evaluation.results_file import read_results
from hetc.evaluation.sweep_spec import Sweep
from hetc.reporting.result_figures import fraction_figures

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "samples").is_dir())
sample = root / "samples" / "tiny_moe"
work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The paper's rule
#
# `compile` ranks the experts of each layer by MaxNNScore, the largest norm of an expert's neurons,
# which needs nothing but the weights. A quarter of them stays digital, and so does everything that
# every token passes through: attention and the LM head.

# %%
bundle = hetc.compile(sample, work / "quarter.hetc", digital_frac=0.25)
bundle

# %% [markdown]
# Why is an expert where it is? The plan says it of every unit.

# %%
unit = bundle.plan.by_id["layers.1.experts.3"]
unit.target, unit.rule, unit.reason

# %% [markdown]
# ## What it buys
#
# A sweep measures the loss over digital fractions and scores. Each point is the mean over
# programmed chips: `seeds` draws of the noise. At a noise of 8 times that of the default device
# this small model breaks, so that there is something to win back.

# %%
spec = Sweep(
    sample / "model.onnx",
    sample / "heldout.npz",
    windows=4,
    scores=("random", "maxnn"),
    fractions=(0, 0.125, 0.25, 0.5, 1),
    noise_scales=(8,),
    seeds=4,
)
hetc.sweep(spec, work / "results.csv", workers=1)
results = pd.read_csv(work / "results.csv")
losses = results[results.metric == "loss"]
table = losses.pivot_table(index="fraction", columns="score", values="value")
table

# %%
fraction_figures(read_results(work / "results.csv"))[0]

# %% [markdown]
# ## Neurons instead of experts
#
# An expert is a sum over its intermediate neurons, so each of them can be digital by itself. With
# the checkpoint and some text, `score` measures what the noise of each neuron costs in loss.

# %%
hetc.score(sample, sample / "calibration.npz", work / "scores.safetensors", windows=4, profile="pcm-512")
neurons = Sweep(
    sample / "model.onnx",
    sample / "heldout.npz",
    windows=4,
    granularities=("neuron",),
    scores=("device-loss",),
    scores_files=(work / "scores.safetensors",),
    fractions=(0, 0.125, 0.25),
    noise_scales=(8,),
    seeds=4,
)
hetc.sweep(neurons, work / "neurons.csv", workers=1)
by_neuron = pd.read_csv(work / "neurons.csv")
by_neuron[by_neuron.metric == "loss"].groupby("fraction").value.mean()

# %% [markdown]
# An eighth of the neurons, chosen so, brings back more than an eighth of the experts. The same plan
# as a bundle: `hetc compile samples/tiny_moe --granularity neuron --digital-frac 0.125 --score
# device-loss --scores FILE`.
