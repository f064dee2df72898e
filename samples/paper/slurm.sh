#!/usr/bin/env bash
# The paper's tables and figures on a Slurm cluster: samples/paper/slurm.sh olmoe 21 [OPTIONS of sbatch]
#
# Submits three jobs, each after the one before: one that makes what is missing and estimates the sweep, an
# array of 21 that do a shard each on a GPU of their own, and one that merges them and writes the page. The
# sweep programs weights 21 times: more shards gain nothing, and 11 take twice as long. All run in the folder of
# this repository, which they must share, with the `hetc` that is found now. Submit again after a failure:
# finished jobs are kept. OPTIONS, such as --partition or --time, go to all of them.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=${1:?olmoe or deepseekmoe}
shards=${2:?how many shards}
shift 2
out=build/paper/$name
if [ ! -e "$out/checkpoint" ]; then
  samples/paper/run "$name" --dry-run # says how to get it: nodes that compute may have no network
fi
submit() {
  sbatch --parsable --gres=gpu:1 --cpus-per-task=8 --mem=64G --job-name="hetc-$name" \
    --output="$out/slurm-%j.out" --kill-on-invalid-dep=yes "$@"
}
prepared=$(submit "$@" --wrap "samples/paper/run $name --dry-run --shard 1/$shards")
measured=$(submit "$@" --dependency="afterok:${prepared%%;*}" --array="1-$shards" \
  --wrap "samples/paper/run $name --shard \$SLURM_ARRAY_TASK_ID/$shards")
merged=$(submit "$@" --dependency="afterok:${measured%%;*}" --wrap "samples/paper/run $name --merge")
echo "submitted ${prepared%%;*}, ${measured%%;*} (1-$shards) and ${merged%%;*}; they write to $out/slurm-*.out"
