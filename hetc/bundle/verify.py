"""Checks that a bundle does what its plan says, each check with what was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.progress import progress
from hetc.base.seeds import SEEDS
from hetc.bundle.bundle import Bundle, BundleLike, opened_bundle
from hetc.bundle.checks import Check
from hetc.bundle.files import MODEL
from hetc.bundle.router_ties import tied_tokens
from hetc.model.hub import local_path
from hetc.model.inputs import first_step, prompt_shape
from hetc.model.load import sha256
from hetc.model.product_types import product_types
from hetc.operators.words import Mode
from hetc.passes.analysis.cut_partitions import ANALOG_OPERATORS
from hetc.plan.arithmetic import Arithmetic
from hetc.plan.finding import TRUE_WEIGHTS_TOLERANCE
from hetc.plan.units import vocabulary_of
from hetc.runtimes.onnxruntime.run_model import run_model
from hetc.runtimes.onnxruntime.session import open_session, placed_operators

__all__ = ["LOGITS_TOLERANCE", "verify"]

LOGITS_TOLERANCE = 1e-4
"""Largest difference of a logit between exact mode and the source."""
STEPS = {"tensor(float16)": 2.0**-10, "tensor(bfloat16)": 2.0**-7}
"""Step of a 16-bit type at 1."""
STEPS_ALLOWED = 8
"""Steps of the largest logit that a model of 16 bits may differ."""
BATCH, SEQUENCE = 2, 64
OTHER_LENGTHS = (1, 512)
"""Other lengths at which exact mode is compared with the source: what drops tokens does so in long ones."""


def verify(bundle: BundleLike, source: str | Path | None = None, *, seeds: int = 4) -> list[Check]:
    """Checks hashes, exact mode against the source, the kernels that ran, and the noise.

        >>> import hetc
        >>> bundle = hetc.compile("samples/tiny_moe/model.onnx", "verified.hetc")
        >>> {check.status for check in hetc.verify(bundle, seeds=2)}
        {'ok'}

    Args:
        bundle: The bundle, or its folder.
        source: The model that it was compiled from, which may be on the hub; None to look where the plan says
            it was.
        seeds: Number of programming seeds for the noisy statistics, at least 2.

    Raises:
        UsageError: `source` isn't there.
        RuntimeMissingError: The library or ONNX Runtime is missing.
    """
    bundle = opened_bundle(bundle)
    source = None if source is None else local_path(source, "model")
    if source is not None and not source.is_file():
        raise UsageError(f"source {source}: no such file")
    if bundle.weights_hold is not None:
        return [_check_files(bundle), *_check_fixed(bundle, bundle.weights_hold, source)]
    checks = [_check_files(bundle)]
    with progress("comparing with the source"):
        exact = _Outputs(bundle, mode="exact")
        checks += [_check_source(bundle, source, exact), *_check_raised(bundle)]
    checks.append(_check_kernels(bundle))
    if bundle.plan.noisy:
        return [*checks, *_check_noise(bundle, exact, seeds)]
    return [*checks, Check("noise", "not run", "the plan has no analog unit with programming noise")]


class _Outputs:
    """A bundle's first output on the fixed inputs, in one mode."""

    def __init__(self, bundle: Bundle, *, mode: Mode | None = None, seed: int | None = None) -> None:
        self.session = bundle.session(mode=mode, seed=seed)
        self.feeds = first_step(self.session, _tokens(bundle, self.session), bundle.path)
        self.values = run_model(self.session, None, self.feeds)[0].astype(np.float32)


def _tokens(bundle: Bundle, session: onnxruntime.InferenceSession, length: int = SEQUENCE) -> np.ndarray:
    """Uniform token ids `[BATCH, length]`, or as the model declares; the vocabulary is the LM head's."""
    vocabulary = vocabulary_of(bundle.plan.units) or 2
    return np.random.default_rng(0).integers(vocabulary, size=prompt_shape(session, BATCH, length))


def _check_files(bundle: Bundle) -> Check:
    entries = bundle.manifest.items()
    with progress("hashing files", sum(entry["size"] for _, entry in entries)) as advance:
        changed = [name for name, entry in entries if sha256(bundle.path / name, advance) != entry["sha256"]]
    if changed:
        return Check(
            "files", "failed", f"{', '.join(changed)}: the contents are not those that were compiled"
        )
    return Check("files", "ok", f"{len(bundle.manifest)} files have the hashes of the manifest")


def _check_source(bundle: Bundle, source: Path | None, exact: _Outputs) -> Check:
    name = "exact mode = source"
    recorded = bundle.plan.source
    if not recorded["sha256"]:
        return Check(name, "not run", "compiled from a model in memory, so its source cannot be recognised")
    source = source or Path(recorded["file"])
    if not source.is_file():
        return Check(name, "not run", f"the source {source} is not here; give it with --source")
    if sha256(source) != recorded["sha256"]:
        return Check(name, "failed", f"{source} is not the model that was compiled (sha256 differs)")
    plain = open_session(source, library=False)
    steps = [exact.feeds]
    compared = [(run_model(plain, None, exact.feeds)[0], exact.values)]
    for length in OTHER_LENGTHS:
        with suppress(InvalidInputError):  # more than the model takes
            feeds = first_step(exact.session, _tokens(bundle, exact.session, length), bundle.path, length)
            compared.append((run_model(plain, None, feeds)[0], run_model(exact.session, None, feeds)[0]))
            steps.append(feeds)
    wide = [[part.astype(np.float32) for part in pair] for pair in compared]
    difference = max(float(np.abs(expected - values).max(initial=0)) for expected, values in wide)
    largest = max(float(np.abs(expected).max(initial=0)) for expected, _ in wide)
    types = {*product_types(source), *(value.type for value in (*plain.get_inputs(), *plain.get_outputs()))}
    allowed = _tolerance(types, bundle.plan.arithmetic, largest)
    if difference > allowed > LOGITS_TOLERANCE:  # the source computes in 16 bits
        excused = _at_ties(bundle, source, steps, wide, allowed)
        if excused is not None:
            return excused
    status = "ok" if difference <= allowed else "failed"
    return Check(name, status, f"largest difference {difference:.2e}, allowed {allowed:.0e}")


def _at_ties(
    bundle: Bundle,
    source: Path,
    steps: list[dict[str, np.ndarray]],
    compared: list[list[np.ndarray]],
    allowed: float,
) -> Check | None:
    """The check where only tokens differ whose router chose at a tie, or that follow one; else None."""
    differing, tokens, rest, most = 0, 0, 0.0, 0.0
    largest = max(float(np.abs(expected).max(initial=0)) for expected, _ in compared)
    for feeds, (expected, values) in zip(steps, compared, strict=True):
        apart = np.abs(expected - values).max(axis=-1)
        tied = tied_tokens(bundle, source, feeds, allowed / largest)
        if tied.size != apart.size or apart.ndim != 2:
            return None
        after = np.maximum.accumulate(tied.reshape(apart.shape), axis=1)
        over = apart > allowed
        if (over & ~after).any():
            return None
        differing, tokens = differing + int(over.sum()), tokens + apart.size
        most, rest = max(most, float(apart.max(initial=0))), max(rest, float(apart[~over].max(initial=0)))
    detail = (
        f"largest difference {rest:.2e}, allowed {allowed:.0e}, but for {differing} of {tokens} tokens (up "
        f"to {most:.2e}) at or after a router's choice between scores that differ less than the source rounds"
    )
    return Check("exact mode = source", "ok", detail)


def _check_raised(bundle: Bundle) -> list[Check]:
    """What was seen when layers that were recognised by trial became canonical."""
    seen = {
        finding.layer: finding.difference
        for finding in bundle.plan.findings
        if finding.raised and finding.difference is not None
    }
    if not seen:
        return []
    worst = max(seen, key=lambda layer: seen[layer])
    status = "ok" if seen[worst] <= TRUE_WEIGHTS_TOLERANCE else "failed"
    detail = (
        f"{len(seen)} layers recognised by trial, compared on their true weights: largest difference "
        f"{seen[worst]:.1e} of the mean term ({worst}), allowed {TRUE_WEIGHTS_TOLERANCE:.0e}"
    )
    return [Check("canonical layers = source's", status, detail)]


def _tolerance(types: Collection[str], arithmetic: Iterable[Arithmetic], largest: float) -> float:
    """What a logit may differ from the source: more where that computes in fewer bits than hetc.

    A model computes in the narrowest type that enters or leaves it, or that a product gives: converters to
    float16 may leave inputs and outputs wide. There a few steps of the largest logit are allowed: each layer
    rounds in the source. So it is where the source rounds activations to whole numbers, and analog units
    don't: of 8 bits, the step is that of bfloat16. And where the scales of packed weights have 16 bits, so
    that the values that analog units hold have, too.
    """
    steps = [step for kind, step in STEPS.items() if kind in types]
    for row in arithmetic:
        steps += [2.0 ** (1 - row.activation_bits)] if row.activation_bits else []
        steps += [STEPS.get(f"tensor({row.values})", 0.0)] if row.values != row.stored else []
    return max(LOGITS_TOLERANCE, STEPS_ALLOWED * max(steps, default=0.0) * largest)


def _check_fixed(bundle: Bundle, why: str, source: Path | None) -> list[Check]:
    """Without clean weights there is nothing to compare: what the weights hold cannot be taken out again."""
    if bundle.baked is not None:
        why += " (seed {seed}, c = {noise_scale:g}, t = {drift_time:g})".format_map(bundle.baked)
    why += ": no mode equals the source"
    if source is not None:
        why += "; verify the bundle that it was made of against the source"
    finite = bool(np.isfinite(_Outputs(bundle).values).all())
    return [
        Check("exact mode = source", "not run", why),
        _check_kernels(bundle),
        Check(
            "outputs are finite",
            "ok" if finite else "failed",
            "on random tokens" if finite else "infinite or no numbers on random tokens",
        ),
        Check("noise", "not run", "nothing is programmed"),
    ]


def _check_kernels(bundle: Bundle) -> Check:
    planned = Counter[str]()
    for unit in bundle.plan.units:
        if unit.target == "analog":
            expert = unit.kind == "expert"
            planned["AnalogExpert" if expert else "AnalogMatMul"] += 1 if expert else len(unit.nodes)
    ran = placed_operators(bundle.path / MODEL)
    missing = {kind: n for kind, n in planned.items() if ran[kind] != n}
    if missing:
        detail = ", ".join(f"{kind}: {n} planned, {ran[kind]} ran" for kind, n in missing.items())
        return Check("kernels", "failed", detail)
    detail = ", ".join(f"{planned[kind]} {kind}" for kind in ANALOG_OPERATORS if planned[kind])
    detail = f"{detail or 'nothing analog'}, all by the library's kernels"
    divided = [unit for unit in bundle.plan.units if unit.target == "analog" and unit.digital_neurons]
    if divided:
        digital, neurons = (
            sum(getattr(unit, name) for unit in divided) for name in ("digital_neurons", "neurons")
        )
        detail += f"; {digital:,} of the {neurons:,} neurons of {len(divided)} units digital"
    return Check("kernels", "ok", detail)


def _check_noise(bundle: Bundle, exact: _Outputs, seeds: int) -> list[Check]:
    first = bundle.plan.seed
    runs = []
    with progress("programming", seeds + 1) as advance:
        for seed in (*range(first, first + seeds), first):
            runs.append(_Outputs(bundle, mode="noisy", seed=seed % SEEDS).values)
            advance(1)
    *runs, again = runs
    same = np.array_equal(again, runs[0])
    different = all(not np.array_equal(run, runs[0]) for run in runs[1:])
    clean = exact.values
    agreement = [float((run.argmax(-1) == clean.argmax(-1)).mean()) for run in runs]
    divergence = [_divergence(clean, run) for run in runs]
    noise_power = [float(np.square(run - clean).mean()) for run in runs]
    ratio = 10 * np.log10(float(np.square(clean).mean()) / np.maximum(noise_power, 1e-30))
    return [
        Check(
            "noise is reproducible",
            "ok" if same else "failed",
            "one seed gives the same bits twice" if same else "one seed gave two results",
        ),
        Check(
            "seeds differ",
            "ok" if different else "failed",
            f"{seeds} seeds give {seeds} results" if different else "two seeds gave the same result",
        ),
        Check(
            "noisy against exact",
            "ok" if np.isfinite(ratio).all() else "failed",
            f"top-1 agreement {np.mean(agreement):.1%}, KL {np.mean(divergence):.4f} nats, "
            f"SQNR {np.mean(ratio):.1f} dB (mean of {seeds} seeds, random tokens)",
        ),
    ]


def _divergence(clean: np.ndarray, noisy: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence, in nats, of the noisy distribution from the clean one."""
    p, q = (values - np.logaddexp.reduce(values, axis=-1, keepdims=True) for values in (clean, noisy))
    return float((np.exp(p) * (p - q)).sum(-1).mean())
