"""What tuning saw of a bundle, share by share, and the choice that follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.reading import read_json
from hetc.base.schema import check_record
from hetc.bundle.files import TUNING
from hetc.plan.fractions import DigitalFraction

__all__ = ["TunedShare", "Tuning", "choose_share", "load_tuning"]

NOISE_TOLERANCE = 0.02
"""Share by which two programmings of the same crossbars may differ in their noise."""


@dataclass(frozen=True)
class TunedShare:
    """What was seen at one share and drift time.

    Attributes:
        digital_frac: The share.
        drift_time: Seconds since programming.
        noise: Relative error of the crossbars' products, mean over layers (`Bundle.measure_noise`).
        mean: The metric, mean over seeds.
        worst: The worse end of its confidence interval.
        joules_per_token: Energy of a step on the system of the tuning.
    """

    digital_frac: DigitalFraction
    drift_time: float
    noise: float
    mean: float
    worst: float
    joules_per_token: float


@dataclass(frozen=True)
class Tuning:
    """A tuning, as `tune.json` in the bundle holds it.

    Attributes:
        metric: One of `hetc.tuning.tune.METRICS`.
        reference: The metric in mode exact.
        bound: The value that the metric must keep.
        seeds: Number of programming seeds.
        confidence: Of the two-sided interval.
        basis: The system and step that energy is of, in words.
        shares: What was measured, by drift time, then by share.
        chosen: Smallest good share by drift time; None where none is.
    """

    metric: str
    reference: float
    bound: float
    seeds: int
    confidence: float
    basis: str
    shares: tuple[TunedShare, ...]
    chosen: tuple[tuple[float, DigitalFraction | None], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data as in `tune.json`."""
        shares = [{**asdict(share), "digital_frac": str(share.digital_frac)} for share in self.shares]
        chosen = [(time, None if share is None else str(share)) for time, share in self.chosen]
        return {**asdict(self), "shares": shares, "chosen": chosen}


def load_tuning(folder: Path) -> Tuning:
    """What `hetc tune` left in the bundle `folder`.

    Raises:
        UsageError: It was never tuned.
        InvalidInputError: The file is damaged.
    """
    path = folder / TUNING
    if not path.is_file():
        raise UsageError(f"bundle {folder} was never tuned; run `hetc tune {folder} --data FILE`")
    record = read_json(path, "tuning")
    check_record(record, "tune", f"tuning {path}")
    try:
        shares = tuple(
            TunedShare(**{**share, "digital_frac": DigitalFraction(share["digital_frac"])})
            for share in record.pop("shares")
        )
        chosen = tuple(
            (time, None if share is None else DigitalFraction(share)) for time, share in record.pop("chosen")
        )
    except UsageError as error:
        raise InvalidInputError(f"tuning {path}: {error}; run `hetc tune` again") from error
    return Tuning(**record, shares=shares, chosen=chosen)


def choose_share(
    tuning: Tuning, *, noise: float, target_loss: float | None = None, energy: float | None = None
) -> DigitalFraction:
    """The share that a session should run at.

    Args:
        tuning: From `load_tuning`.
        noise: The crossbars' relative error now; what was seen at no less noise holds.
        target_loss: The smallest share whose interval lies below this loss.
        energy: Instead of `target_loss`: the largest share that costs at most this many J per token.

    Raises:
        UsageError: Neither or both given, a tuning of another metric, or no share that was seen will do.
    """
    if (target_loss is None) == (energy is None):
        raise UsageError("give either target_loss or energy")
    if energy is not None:
        cheap = [share for share in tuning.shares if share.joules_per_token <= energy]
        if not cheap:
            least = min(share.joules_per_token for share in tuning.shares)
            raise UsageError(f"no tuned share costs {energy:g} J per token or less; the least is {least:g}")
        return max(share.digital_frac for share in cheap)
    if tuning.metric != "loss":
        raise UsageError(f"the bundle was tuned for {tuning.metric}, not for loss; tune it again")
    good = [
        share
        for share in tuning.shares
        if share.noise >= noise * (1 - NOISE_TOLERANCE)
        and target_loss is not None
        and share.worst <= target_loss
    ]
    if not good:
        raise UsageError(
            f"no tuned share keeps the loss at {target_loss:g} with crossbars that err by {noise:.2%}; "
            "tune the bundle at a longer drift time, or allow more"
        )
    return min(share.digital_frac for share in good)
