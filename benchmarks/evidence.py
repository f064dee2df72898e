"""Tables of a sweep's results: which score recovers how much of the loss, and whether that is luck.

    hetc sweep samples/sweeps/tiny_moe.toml -o results.parquet
    python benchmarks/evidence.py results.parquet

The share recovered is (loss at fraction 0 - loss) / (loss at fraction 0 - loss at fraction 1), of means over
seeds. Scores are compared seed by seed on the same programming noise by an exact permutation test: of all
choices of signs for the seeds' differences, the share with a mean difference as large in either direction.
Printed as Markdown.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hetc.evaluation.results import OVER_MODEL, Result, group_results, mean_and_deviation
from hetc.evaluation.results_file import read_results

BASELINES = ("random", "maxnn", "router-norm", "activation-frequency", "activation-weight")
COMPARED = (0.125, 0.25)


def permutation_test(differences: np.ndarray) -> float:
    """Two-sided p-value of the mean of paired `differences` `[n]`, over all 2^n choices of their signs."""
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(differences))))
    means = np.abs(signs @ differences)
    return float((means >= abs(differences.sum()) * (1 - 1e-12)).mean())


def by_seed(results: Sequence[Result]) -> np.ndarray:
    """Values in the order of their seeds."""
    return np.array([result.value for result in sorted(results, key=lambda result: result.seed)])


def mean_text(results: Sequence[Result]) -> str:
    """Mean +- standard deviation."""
    mean, deviation = mean_and_deviation(results)
    return f"{mean:.4f} +- {deviation:.4f}"


def print_head(columns: Sequence[str]) -> None:
    """The first two lines of a table."""
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")


def print_fractions(results: Sequence[Result]) -> None:
    """One line per score: loss at each fraction, and the share recovered where scores are compared."""
    fractions = sorted({result.fraction for result in results})
    found = group_results(results, lambda result: (result.score, result.fraction))
    # With no expert digital, and with all, every score is the same plan.
    ends = [
        mean_and_deviation([r for r in results if r.fraction == end and r.score == results[0].score])[0]
        for end in (0.0, 1.0)
    ]
    inner = [fraction for fraction in fractions if 0 < fraction < 1]
    print(f"no expert digital: {ends[0]:.4f}; all: {ends[1]:.4f}\n")
    heads = [f"{fraction:.1%} digital" for fraction in inner]
    heads += [f"recovered at {fraction:.1%}" for fraction in COMPARED]
    print_head(["score", *heads])
    for score in sorted({result.score for result in results}):
        cells = [mean_text(found[score, fraction]) for fraction in inner]
        for fraction in COMPARED:
            loss = mean_and_deviation(found[score, fraction])[0]
            cells.append(f"{(ends[0] - loss) / (ends[0] - ends[1]):.1%}")
        print(f"| {score} | {' | '.join(cells)} |")


def print_tests(results: Sequence[Result], ours: Sequence[str]) -> None:
    """Each of our scores against each baseline, seed by seed."""
    found = group_results(results, lambda result: (result.score, result.fraction))
    scores = sorted({result.score for result in results})
    baselines = [score for score in scores if score.removesuffix(OVER_MODEL) in BASELINES]
    print()
    print_head(["loss less the baseline's", *(f"{fraction:.1%} digital" for fraction in COMPARED)])
    for score in ours:
        for baseline in baselines:
            cells = []
            for fraction in COMPARED:
                differences = by_seed(found[score, fraction]) - by_seed(found[baseline, fraction])
                cells.append(f"{differences.mean():+.4f}, p = {permutation_test(differences):.1g}")
            print(f"| {score} - {baseline} | {' | '.join(cells)} |")


def print_scales(results: Sequence[Result]) -> None:
    """One line per score and fraction: loss at each noise scale."""
    scales = sorted({result.noise_scale for result in results})
    found = group_results(results, lambda result: (result.score, result.fraction, result.noise_scale))
    print_head(["score", "digital", *(f"c = {scale:g}" for scale in scales)])
    for score, fraction in sorted({key[:2] for key in found}):
        if fraction in (0, 1) and score != results[0].score:
            continue  # one plan, whatever ranks the experts
        cells = [mean_text(found[score, fraction, scale]) for scale in scales]
        name = "any" if fraction in (0, 1) else score
        print(f"| {name} | {fraction:.1%} | {' | '.join(cells)} |")


def print_kinds(results: Sequence[Result]) -> None:
    """One line per kind of unit that was analog alone: loss at each noise scale."""
    scales = sorted({result.noise_scale for result in results})
    found = group_results(results, lambda result: (result.kind, result.noise_scale))
    print_head(["analog", *(f"c = {scale:g}" for scale in scales)])
    for kind in sorted({result.kind for result in results}):
        print(f"| {kind} | {' | '.join(mean_text(found[kind, scale]) for scale in scales)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--metric", default="loss")
    parser.add_argument("--ours", nargs="*", default=["expected-loss", f"expected-loss{OVER_MODEL}"])
    options = parser.parse_args()
    results = [result for result in read_results(options.results) if result.metric == options.metric]
    placed = [result for result in results if not result.kind]
    if any(result.kind for result in results):
        print_kinds([result for result in results if result.kind])
    if len({result.noise_scale for result in placed}) > 1:
        print_scales(placed)
    elif placed:
        print_fractions(placed)
        print_tests(placed, options.ours)


if __name__ == "__main__":
    main()
