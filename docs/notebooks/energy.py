# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Accuracy against energy
#
# The figure of a paper: what a digital share costs in energy, and what it brings in loss. Losses
# are measured on the sample model; time and energy are calculated from published constants of a
# system, here the digital and analog parts of the profile `a100+pcm-3d`.

# %%
import tempfile
from pathlib import Path

import pandas as pd

import hetc
from hetc.evaluation.results_file import read_results
from hetc.evaluation.sweep_spec import Sweep
from hetc.reporting.figure import parse_width, save_figure
from hetc.reporting.result_figures import energy_figures

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "samples").is_dir())
sample = root / "samples" / "tiny_moe"
work = Path(tempfile.mkdtemp())
fractions = (0, 0.125, 0.25, 0.5, 1)

# %% [markdown]
# ## Loss, measured

# %%
spec = Sweep(
    sample / "model.onnx", sample / "heldout.npz", windows=4, fractions=fractions, noise_scales=(8,), seeds=4
)
hetc.sweep(spec, work / "results.csv", workers=1)
results = pd.read_csv(work / "results.csv")
losses = results[results.metric == "loss"].groupby("fraction").value.agg(["mean", "sem"])

# %% [markdown]
# ## Energy, calculated
#
# Each constant of a cost profile has its unit and its source: `hetc cost --help` names the
# profiles. The sample is far too small for crossbars to pay; the same lines on a plan of a real
# model give a real figure.

# %%
bundle = hetc.compile(sample, work / "all_analog.hetc", digital_frac=0)
costs = {
    fraction: hetc.cost(bundle, costs="a100+pcm-3d", batch=32, digital_frac=fraction)["decode"]
    for fraction in fractions
}
losses["mJ per token"] = [1e3 * cost.joules_per_token for cost in costs.values()]
losses["tokens per second"] = [cost.tokens_per_second for cost in costs.values()]
losses

# %% [markdown]
# What the energy is made of:

# %%
pd.DataFrame(
    {fraction: {name: part.joules for name, part in cost.parts.items()} for fraction, cost in costs.items()}
)

# %% [markdown]
# As a figure, a column of a paper wide and with its fonts in it: `hetc report BUNDLE --results FILE
# --figures DIR --width 85mm` writes it with all others.

# %%
measured = read_results(work / "results.csv")
figure, *_ = energy_figures(measured, lambda fraction: costs[fraction].joules_per_token)
save_figure(figure, {"pdf": work / "pareto.pdf"}, parse_width("85mm"))
figure

# %% [markdown]
# ## The other way round
#
# A budget says how much may be digital, and `compile` fills it with what helps most; `energy:2mJ`
# and `latency:80us` are budgets, too.

# %%
hetc.compile(sample, work / "budget.hetc", budget="parameters:20%").plan.shares
