"""Tables of a sweep over granularities: what neurons recover of the loss, against whole experts.

    hetc sweep samples/sweeps/tiny_moe_neurons.toml -o results.parquet
    python benchmarks/neurons.py results.parquet

The share recovered is (loss at fraction 0 - loss) / (loss at fraction 0 - loss at fraction 1), of means over
seeds. Each is compared with a baseline seed by seed, on the same programming noise: how many times its share,
the difference of the losses, and the p-value of `benchmarks/evidence.py`. Printed as Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from evidence import by_seed, permutation_test, print_head

from hetc.evaluation.results import OF_NEURONS, OVER_MODEL, Result, group_results
from hetc.evaluation.results_file import read_results


def baseline_of(score: str, baseline: str | None) -> str:
    """What a score is compared with: the given baseline, else the same score of whole experts."""
    return baseline or score.replace(OF_NEURONS, "")


def print_table(results: Sequence[Result], baseline: str | None) -> None:
    """One line per score and fraction of one noise scale."""
    found = group_results(results, lambda result: (result.score, result.fraction))
    scores = sorted({result.score for result in results})
    # With nothing digital, and with everything, all scores are the same plan.
    none, everything = (by_seed(found[scores[0], end]) for end in (0.0, 1.0))
    first = results[0]
    print(
        f"\nc = {first.noise_scale:g}, {len(none)} seeds: all analog {none.mean():.4f} "
        f"({none.mean() / everything.mean() - 1:+.2%}), all digital {everything.mean():.4f}\n"
    )
    print_head(
        [
            "ranked by",
            "digital",
            "loss",
            "above all digital",
            "recovered",
            "against",
            "times",
            "loss less",
            "p",
        ]
    )
    for fraction in sorted({result.fraction for result in results} - {0.0, 1.0}):
        shares = {
            score: (none.mean() - by_seed(found[score, fraction]).mean()) / (none - everything).mean()
            for score in scores
        }
        for score in scores:
            losses, other = by_seed(found[score, fraction]), baseline_of(score, baseline)
            cells = [
                f"{losses.mean():.4f} +- {losses.std(ddof=1):.4f}",
                f"{losses.mean() / everything.mean() - 1:+.2%}",
                f"{shares[score]:.1%}",
            ]
            if other != score and other in shares:
                difference = losses - by_seed(found[other, fraction])
                cells += [
                    other,
                    f"{shares[score] / shares[other]:.2f}",
                    f"{difference.mean():+.4f}",
                    f"{permutation_test(difference):.1g}",
                ]
            else:
                cells += [""] * 4
            print(f"| {score.replace(OVER_MODEL, '')} | {fraction:.4g} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--metric", default="loss")
    parser.add_argument("--against", help="Compare with this score, instead of the same of whole experts.")
    options = parser.parse_args()
    results = [result for result in read_results(options.results) if result.metric == options.metric]
    for same_scale in group_results(results, lambda result: result.noise_scale).values():
        print_table(same_scale, options.against)


if __name__ == "__main__":
    main()
