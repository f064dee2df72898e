"""Any known spelling of an MoE layer -> the canonical layer.

The spellings are the modules of `hetc.passes.spellings` and those that other packages add; each says what it
matches. A model-local function that holds a layer is inlined first. What was raised and what was declined,
and why, stays in `RaiseExperts.findings`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from hetc.base.errors import HetcError, InvalidInputError
from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS
from hetc.passes.canonical.canonical_layer import ExpertWeights, build_canonical_layer, expert_operator
from hetc.passes.canonical.named_tape import NamedTape
from hetc.passes.rewrite.add_expert_bodies import AddExpertBodies
from hetc.passes.rewrite.free_names import FreeNames
from hetc.passes.rewrite.inferred_shapes import inferred_shapes, lacks_shapes
from hetc.passes.rewrite.layer_names import (
    layer_number,
    names_before,
    new_layer_name,
    numbers_of_layers,
)
from hetc.passes.rewrite.replace_output import replace_output
from hetc.passes.spellings import known_spellings
from hetc.passes.spellings.spelling import FoundLayer, MismatchError, Spelling
from hetc.plan.finding import Finding

__all__ = ["RaiseExperts"]

logger = logging.getLogger(__name__)

LAST_CHECK = 99
"""How many parts a layer has matched that only its weights' types keep from being raised."""

WEIGHTS = ("gate", "up", "down", "gate_bias", "up_bias", "down_bias")


class RaiseExperts(ir.passes.InPlacePass):
    """Makes every MoE layer of a known spelling canonical, and leaves everything else as it is.

    Args:
        spellings: The spellings to try, in order; None for all that are known.

    Attributes:
        findings: After `call`, what was raised and what was declined, in graph order.

    Raises:
        InvalidInputError: For a plugin that is no spelling. From `call`, for a graph that can't be searched,
            and for experts of two forms: one function body serves one form.
    """

    def __init__(self, spellings: Sequence[Spelling] | None = None) -> None:
        super().__init__()
        self.spellings = known_spellings() if spellings is None else spellings
        self.findings: tuple[Finding, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        inlined = _inline_layers(model, self.spellings)
        lacking = lacks_shapes(model) and any(_anchors(spelling, model.graph) for spelling in self.spellings)
        with inferred_shapes(model) if lacking else nullcontext():
            raised, mismatches = self._raise_all(model.graph)
        mismatches += _inside_subgraphs(model.graph, self.spellings)
        self.findings = (*raised, *_declined(mismatches))
        for finding in self.findings:
            if finding.raised:
                logger.info("%s", finding)
            else:
                logger.warning("not raised: %s", finding)
        if raised:
            AddExpertBodies()(model)
        return ir.passes.PassResult(model, modified=bool(raised) or inlined)

    def _raise_all(self, graph: ir.Graph) -> tuple[list[Finding], list[tuple[str, ir.Node, MismatchError]]]:
        """Raises what the spellings recognise; returns that, and what each declined."""
        raised: list[Finding] = []
        mismatches: list[tuple[str, ir.Node, MismatchError]] = []
        taken = numbers_of_layers(graph)
        names = FreeNames(graph)
        for spelling in self.spellings:
            for anchor in _anchors(spelling, graph):
                if anchor.graph is None:  # removed with a layer that was raised meanwhile
                    continue
                try:
                    found = _recognise(spelling, anchor)
                    layer = _raise(graph, anchor, found, taken, names)
                except MismatchError as error:
                    mismatches.append((spelling.NAME, anchor, error))
                else:
                    node = anchor.name or ""
                    raised.append(Finding(layer, spelling.NAME, True, "", node, found.difference))
        return raised, mismatches

    def ensures(self, model: ir.Model) -> None:
        """Every raised layer has its experts as nodes, `layers.3.experts.0` and so on.

        Raises:
            PostconditionError: One hasn't.
        """
        experts: dict[str, set[int]] = defaultdict(set)
        for node in model.graph:
            if node.domain == DOMAIN and node.op_type in EXPERT_OPERATORS:
                layer, _, number = (node.name or "").rpartition(".experts.")
                experts[layer].add(int(number) if number.isdecimal() else -1)
        for finding in self.findings:
            numbers = experts[finding.layer]
            if finding.raised and (not numbers or numbers != set(range(len(numbers)))):
                first = f"{finding.layer}.experts.0"
                raise ir.passes.PostconditionError(
                    f"a layer was raised without experts named {first} and so on"
                )


def _inline_layers(model: ir.Model, spellings: Iterable[Spelling]) -> bool:
    """Inlines the functions that hold something like a layer: weights are constants in the graph only."""

    def holds_layer(function: ir.Function) -> bool:
        return function.domain != DOMAIN and any(_anchors(spelling, function.graph) for spelling in spellings)

    if not any(holds_layer(function) for function in model.functions.values()):
        return False
    InlinePass(criteria=holds_layer)(model)
    return True


def _anchors(spelling: Spelling, graph: ir.Graph) -> list[ir.Node]:
    """The nodes that suggest a layer of the spelling.

    Raises:
        InvalidInputError: The graph is wrong in a way that keeps it from being searched.
    """
    try:
        return list(spelling.anchors(graph))
    except HetcError:
        raise
    except Exception as error:
        logger.debug("searching for %s", spelling.NAME, exc_info=True)
        raise InvalidInputError(
            f"graph {graph.name!r} can't be searched for MoE layers ({spelling.NAME}): {_said(error)}; "
            "onnx.checker may say which node is wrong"
        ) from error


def _said(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _recognise(spelling: Spelling, anchor: ir.Node) -> FoundLayer:
    """What the spelling says, whatever it fails with: models may be wrong in ways that nobody thought of.

    Raises:
        MismatchError: The layer isn't one of the spelling, or can't be read.
        HetcError: From other packages' spellings.
    """
    try:
        return spelling.recognise(anchor)
    except (MismatchError, HetcError):
        raise
    except Exception as error:
        logger.debug("%s at node %r", spelling.NAME, anchor.name, exc_info=True)
        raise MismatchError(f"it can't be read: {_said(error)}", anchor) from error


def _inside_subgraphs(
    graph: ir.Graph, spellings: Iterable[Spelling]
) -> Iterator[tuple[str, ir.Node, MismatchError]]:
    """What looks like a layer inside of an If, Loop or Scan, where nothing can be placed."""
    for subgraph in graph.subgraphs():
        for spelling in spellings:
            for anchor in _anchors(spelling, subgraph):
                yield (
                    spelling.NAME,
                    anchor,
                    MismatchError("the layer lies inside of an If, Loop or Scan", anchor),
                )


def _declined(mismatches: Iterable[tuple[str, ir.Node, MismatchError]]) -> Iterator[Finding]:
    """One finding for each layer that is still there: the spelling that matched most."""
    nearest: dict[str, tuple[str, ir.Node, MismatchError]] = {}
    for name, anchor, error in mismatches:
        if anchor.graph is None:
            continue
        layer = layer_number([error.node.name, *names_before(anchor)])
        key = f"layers.{layer}" if layer is not None else anchor.name or ""
        if key not in nearest or error.matched > nearest[key][2].matched:
            nearest[key] = (name, anchor, error)
    for layer_name, (name, _, error) in nearest.items():
        yield Finding(layer_name, name, False, error.reason, error.node.name or "")


def _raise(graph: ir.Graph, anchor: ir.Node, found: FoundLayer, taken: set[int], names: FreeNames) -> str:
    """Puts the canonical layer in the place of the one that was found; returns its name.

    Args:
        graph: Where it is.
        anchor: The node that suggested it.
        found: The layer.
        taken: The numbers of layers that there are; the new one's is added.
        names: The names that values and nodes of the graph have; those of the layer are added.

    Raises:
        MismatchError: Its experts' weights aren't what an expert can have; nothing has changed then.
    """
    for index, expert in enumerate(found.experts):
        try:
            operator = expert_operator(expert)
        except ValueError as error:
            raise MismatchError(f"expert {index}: {error}", anchor, matched=LAST_CHECK) from error
        narrow = [value.dtype for value in expert.inputs if value and value.dtype != ir.DataType.FLOAT]
        if operator == "Expert" and narrow:
            raise MismatchError(f"expert {index} has a bias of {narrow[0]}", anchor, matched=LAST_CHECK)
        _require_shapes(index, expert, found, anchor)
    layer = new_layer_name(taken, anchor, found)
    glue = found.glue or NamedTape("")
    tape = NamedTape(f"{layer}.experts")
    tape.nodes, tape.constants = [*glue.nodes], [*glue.constants]
    x = tape.float32("x_float32", found.x)
    flat = x.shape is not None and len(x.shape) == 2
    if not flat:
        x = tape.op("x_rows", "Reshape", [x, tape.constant("x_shape", [-1, found.hidden_size])])
    chosen = found.top_k_index
    if chosen.dtype != ir.DataType.INT64:
        chosen = tape.op("index", "Cast", [chosen], to=ir.DataType.INT64.value)
    built = build_canonical_layer(
        x,
        chosen,
        tape.float32("weight_float32", found.top_k_weight),
        found.experts,
        layer=layer,
        top_k=found.top_k,
        hidden_size=found.hidden_size,
        activation=found.activation,
        activation_attributes=found.activation_attributes,
        transpose_weight=found.transpose_weight,
    )
    tape.nodes += built.nodes
    tape.constants += built.constants
    result = built.output
    if not flat:
        result = tape.op("y", "Reshape", [result, tape.op("y_shape", "Shape", [found.x])])
    kind = found.output.dtype
    if kind is None and found.x.dtype != ir.DataType.FLOAT:
        result = tape.op("y_type", "CastLike", [result, found.x])
    elif kind not in (None, ir.DataType.FLOAT):
        result = tape.op("y_type", "Cast", [result], to=kind.value)

    for number, expert in enumerate(found.experts):
        _register(graph, expert, f"{layer}.experts.{number}", names)
    names.take(tape.nodes, tape.constants)
    for constant in tape.constants:
        graph.register_initializer(constant)
    replace_output(graph, found.output, result, tape.nodes)
    return layer


def _register(graph: ir.Graph, expert: ExpertWeights, unit: str, names: FreeNames) -> None:
    """Makes the expert's new constants initializers, named `layers.3.experts.17.up_proj.weight`."""
    parts = [f"{part}_proj.weight" for part in ("gate", "up", "down")]
    parts += [f"{part}_proj.bias" for part in ("gate", "up", "down")]
    for name, value in zip(parts, expert.inputs, strict=False):
        if value is not None and not value.is_initializer():
            value.name = f"{unit}.{name}"
            names.take([], [value])
            if value.const_value is not None:
                value.const_value.name = value.name
            graph.register_initializer(value)


def _require_shapes(number: int, expert: ExpertWeights, found: FoundLayer, anchor: ir.Node) -> None:
    """Refuses an expert whose weights and biases don't fit together.

    Raises:
        MismatchError: Names the weight.
    """
    tensors = {name: getattr(expert, name) for name in WEIGHTS}
    shapes = {name: _shape(value) for name, value in tensors.items() if value is not None}
    inner = shapes["up"][0 if found.transpose_weight else -1] if len(shapes["up"]) == 2 else -1
    wide = (inner, found.hidden_size) if found.transpose_weight else (found.hidden_size, inner)
    expected: dict[str, tuple[int, ...]] = {"gate": wide, "up": wide, "down": wide[::-1]}
    expected |= {"gate_bias": (inner,), "up_bias": (inner,), "down_bias": (found.hidden_size,)}
    for name, shape in shapes.items():
        if shape != expected[name]:
            reason = f"expert {number}'s {name} {tensors[name].name!r} is {list(shape)}"
            raise MismatchError(f"{reason}, not {list(expected[name])}", anchor, matched=LAST_CHECK)


def _shape(value: ir.Value) -> tuple[int, ...]:
    return () if value.const_value is None else tuple(value.const_value.shape.numpy())
