# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
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
from matplotlib import pyplot as plt

import hetc
from hetc.evaluation.sweep_spec import Sweep

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

# %%
figure, axes = plt.subplots(figsize=(85 / 25.4, 2.4), layout="constrained")
axes.errorbar(losses["mJ per token"], losses["mean"], yerr=1.96 * losses["sem"], marker="o", capsize=3)
for fraction, row in losses.iterrows():
    axes.annotate(
        f"{fraction:g}", (row["mJ per token"], row["mean"]), textcoords="offset points", xytext=(4, 4)
    )
axes.set(xlabel="energy per token (mJ)", ylabel="loss (nats per token)")
figure.savefig(work / "pareto.pdf")

# %% [markdown]
# ## The other way round
#
# A budget says how much may be digital, and `compile` fills it with what helps most; `energy:2mJ`
# and `latency:80us` are budgets, too.

# %%
hetc.compile(sample, work / "budget.hetc", budget="parameters:20%").plan.shares
