# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # My own device
#
# From conductances that were measured to a model that runs on them. A table says what devices were
# programmed to and what was read back, seconds after programming; here a random one stands in for
# the laboratory.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import hetc
from hetc.evaluation.likelihood import mean_loss, session_forward
from hetc.hardware.device_fit import fit_device
from hetc.hardware.measurements import read_measurements
from hetc.reporting.figure import drawing_style

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "samples").is_dir())
sample = root / "samples" / "tiny_moe"
work = Path(tempfile.mkdtemp())

random = np.random.default_rng(0)
target = 25 * random.integers(0, 11, 4000) / 10
first = np.maximum(0, target + (0.4 + 0.03 * target) * random.standard_normal(4000))
nu = 0.05 + 0.01 * random.standard_normal(4000)
rows = [np.transpose([target, first * (t / 20) ** -nu, np.full(4000, t)]) for t in (20, 3600, 86400)]
np.savetxt(work / "measured.csv", np.concatenate(rows), "%.6g", ",", header="target,read,time", comments="")

# %% [markdown]
# ## The noise model
#
# A polynomial says how programming errs over the target, in units of g_max; a mean and a deviation
# of the drift exponent say how devices decay. How well do they say what was measured?

# %%
measured = read_measurements(work / "measured.csv", unit="microsiemens", g_max=25.0)
fit = fit_device(measured, "fitted", degree=1)
print("sigma(r) =", fit.model.sigma, "R^2", round(fit.r_squared, 4))

# %%
r = [level.r for level in fit.levels]
with drawing_style():
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.errorbar(
        r,
        [level.measured for level in fit.levels],
        yerr=[2 * level.error for level in fit.levels],
        fmt="o",
        label="measured",
    )
    axes.plot(r, [level.fitted for level in fit.levels], label="polynomial")
    axes.set(xlabel="target, of g_max", ylabel="standard deviation, of g_max")
    axes.legend()

# %% [markdown]
# ## The profile, and a bundle on it
#
# The command line writes the profile with a comment on every key.

# %%
command = [
    sys.executable,
    "-m",
    "hetc",
    "profiles",
    "fit",
    "measured.csv",
    "--unit",
    "microsiemens",
    "--g-max",
    "25",
]
subprocess.run([*command, "--degree", "1", "-o", "fitted.toml"], cwd=work, check=True)
bundle = hetc.compile(sample, work / "own.hetc", digital_frac=0.25, profile=work / "fitted.toml")

# %% [markdown]
# ## A year of drift

# %%
windows = np.load(sample / "heldout.npz")["tokens"]
windows = windows[: 4 * 256].reshape(4, 256)
day = 86_400.0
for name, time in {"programmed": 0.0, "a day": day, "a year": 365 * day}.items():
    session = bundle.session(seed=0, drift_time=time)
    print(f"{name:10} loss {mean_loss(session_forward(session, bundle.path), windows):.4f} nats per token")
