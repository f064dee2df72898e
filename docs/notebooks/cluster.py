# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# %% [markdown]
# # Sweeps on a cluster
#
# A sweep is a file that says what to measure. It is cut into jobs, and whoever is there does them:
# cores, GPUs, machines that share a file system, a Dask cluster. Here all of that happens on one
# machine, in small.

# %%
import tempfile
from pathlib import Path

import pandas as pd
from distributed import LocalCluster

import hetc
from hetc.evaluation.sweep import sweep_shard

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "samples").is_dir())
work = Path(tempfile.mkdtemp())

# %%
spec = work / "sweep.toml"
spec.write_text(f"""
model = "{root}/samples/tiny_moe/model.onnx"
data = "{root}/samples/tiny_moe/heldout.npz"
windows = 2
fractions = [0, 0.25, 1]
noise_scales = [4, 8]
seeds = 3
""")

# %% [markdown]
# ## On machines that share a file system
#
# Each does a share, `hetc sweep sweep.toml -o results.csv --shard 1/2`, and one of them writes the
# table with `--merge`. A shard that is killed goes on where it was.

# %%
for share in ("1/2", "2/2"):
    left = sweep_shard(spec, work / "shards.csv", share, workers=1)
    print(f"shard {share} is done; left to others: {left} jobs")
hetc.sweep(spec, work / "shards.csv", merge=True)

# %% [markdown]
# On Slurm, `samples/paper/slurm.sh` submits such shards as an array. On several GPUs of one
# machine, `--devices cuda:0,cuda:1` is enough.
#
# ## On a Dask cluster

# %%
with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
    hetc.sweep(spec, work / "dask.csv", scheduler=cluster.scheduler_address)

# %% [markdown]
# Results are independent of who measured them: both tables are equal.

# %%
columns = ["fraction", "noise_scale", "seed", "metric", "value"]
shards, dask = (
    pd.read_csv(work / name)[columns].sort_values(columns[:4]) for name in ("shards.csv", "dask.csv")
)
assert (shards.value.to_numpy() == dask.value.to_numpy()).all()
shards[shards.metric == "loss"].groupby(["noise_scale", "fraction"]).value.agg(["mean", "std"])
