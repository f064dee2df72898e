"""A unit and where it runs, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from hetc.plan.units import Matrix
from hetc.plan.words import Kind, Rule, Target

__all__ = ["PlannedUnit"]

FRACTION_RULES: tuple[Rule, ...] = ("score-top-k", "score-rest", "score-neurons", "budget")
"""Rules of units that change sides with the digital fraction."""


@dataclass(frozen=True)
class PlannedUnit:
    """A unit and where it runs.

    Attributes:
        id: The unit's id.
        kind: The unit's kind.
        layer: Its layer, or None.
        expert: Its index among the layer's experts, or None.
        target: `analog` or `digital`.
        rule: Name of the rule that fixed the target.
        reason: One sentence for people.
        score: Scores by name; empty for units that are not ranked.
        rank: Place in its group's order, 0 = first to be digital; None for units that are not ranked. Where
            neurons are ranked, the largest rank of its neurons: from there on all of it is digital.
        group_size: Number of experts, or of neurons or their blocks, that are ranked together; 0 for units
            that are not ranked.
        parameters: Number of weights and biases.
        counted: Whether they enter the shares.
        tiles: Crossbar tiles that it takes when analog.
        pinned: Whether the user fixed the target.
        matrices: Its weight matrices with their random streams.
        nodes: Names of the source model's nodes that use them.
        input_ranges: Static ranges per K-slice, by crossbar input (`in`, `mid`, or a weight's name); empty
            for ranges that follow each vector.
        ranges_from: `dynamic`, or whose recording gave the ranges: `own`, or the `layer`'s for want of rows.
        load: Share of the tokens that pass through it, if all experts of a layer are chosen equally often.
        cache_width: Numbers that a token leaves in the key and value cache of an attention.
        adc_bounds: Full scales of the ADC over the input range, per K-slice and crossbar input, in units of
            the column's weight scale or norm as the plan's `adc_bound_rule` says; empty for `out_bound`.
        neurons: Into how many neurons it divides; 0 if it is only placed whole.
        digital_neurons: How many of them are digital; all of them, where it is.
    """

    id: str
    kind: Kind
    layer: int | None
    expert: int | None
    target: Target
    rule: Rule
    reason: str
    score: dict[str, float]
    rank: int | None
    group_size: int
    parameters: int
    counted: bool
    tiles: int
    pinned: bool
    matrices: tuple[Matrix, ...]
    nodes: tuple[str, ...]
    input_ranges: dict[str, tuple[float, ...]] = field(default_factory=dict)
    ranges_from: str = "dynamic"
    load: float = 1.0
    cache_width: int = 0
    adc_bounds: dict[str, tuple[float, ...]] = field(default_factory=dict)
    neurons: int = 0
    digital_neurons: int = 0

    @property
    def digital_share(self) -> float:
        """Share of its weights that is digital, 0..1."""
        if self.target == "digital":
            return 1.0
        return self.digital_neurons / self.neurons if self.neurons else 0.0

    @property
    def digital_parameters(self) -> int:
        """How many of its parameters are digital."""
        if self.target == "digital":
            return self.parameters
        return self.parameters * self.digital_neurons // self.neurons if self.neurons else 0

    @property
    def follows_fraction(self) -> bool:
        """Whether the digital fraction decides its target, here and for each session."""
        return self.rank is not None and self.rule in FRACTION_RULES
