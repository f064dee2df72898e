"""Any known spelling of an MoE layer -> the canonical layer.

The spellings are the modules of `hetc.passes.spellings` and those that other packages add; each says what it
matches. A model-local function that holds a layer is inlined first. What was raised and what was declined,
and why, stays in `RaiseExperts.findings`.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from hetc.operators.schemas import DOMAIN, EXPERT_OPERATORS
from hetc.passes.canonical.canonical_layer import ExpertWeights, build_canonical_layer, expert_operator
from hetc.passes.canonical.named_tape import NamedTape
from hetc.passes.rewrite.add_expert_bodies import AddExpertBodies
from hetc.passes.spellings import known_spellings
from hetc.passes.spellings.spelling import FoundLayer, MismatchError, Spelling
from hetc.plan.finding import Finding

__all__ = ["RaiseExperts"]

logger = logging.getLogger(__name__)

LAYER_NUMBER = re.compile(r"(?:^|[./_])(?:layers?|blocks?|h)[._](\d+)(?=[./_]|$)")
"""How names of weights and nodes number the layers of a model."""

LAST_CHECK = 99
"""How many parts a layer has matched that only its weights' types keep from being raised."""

NODES_SEARCHED = 64
"""How many nodes before a layer may tell its number."""


class RaiseExperts(ir.passes.InPlacePass):
    """Makes every MoE layer of a known spelling canonical, and leaves everything else as it is.

    Args:
        spellings: The spellings to try, in order; None for all that are known.

    Attributes:
        findings: After `call`, what was raised and what was declined, in graph order.

    Raises:
        InvalidInputError: For a plugin that is no spelling. From `call`, for experts of two forms: one
            function body serves one form.
    """

    def __init__(self, spellings: Sequence[Spelling] | None = None) -> None:
        super().__init__()
        self.spellings = known_spellings() if spellings is None else spellings
        self.findings: tuple[Finding, ...] = ()

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        inlined = _inline_layers(model, self.spellings)
        raised: list[Finding] = []
        mismatches: list[tuple[str, ir.Node, MismatchError]] = []
        for spelling in self.spellings:
            for anchor in list(spelling.anchors(model.graph)):
                if anchor.graph is None:  # removed with a layer that was raised meanwhile
                    continue
                try:
                    layer = _raise(model.graph, anchor, spelling.recognise(anchor))
                except MismatchError as error:
                    mismatches.append((spelling.NAME, anchor, error))
                else:
                    raised.append(Finding(layer, spelling.NAME, True, node=anchor.name or ""))
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
        return function.domain != DOMAIN and any(
            True for spelling in spellings for _ in spelling.anchors(function.graph)
        )

    if not any(holds_layer(function) for function in model.functions.values()):
        return False
    InlinePass(criteria=holds_layer)(model)
    return True


def _inside_subgraphs(
    graph: ir.Graph, spellings: Iterable[Spelling]
) -> Iterator[tuple[str, ir.Node, MismatchError]]:
    """What looks like a layer inside of an If, Loop or Scan, where nothing can be placed."""
    for subgraph in graph.subgraphs():
        for spelling in spellings:
            for anchor in spelling.anchors(subgraph):
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
        layer = _number([error.node.name, *_names_before(anchor)])
        key = f"layers.{layer}" if layer is not None else anchor.name or ""
        if key not in nearest or error.matched > nearest[key][2].matched:
            nearest[key] = (name, anchor, error)
    for layer_name, (name, _, error) in nearest.items():
        yield Finding(layer_name, name, False, error.reason, error.node.name or "")


def _raise(graph: ir.Graph, anchor: ir.Node, found: FoundLayer) -> str:
    """Puts the canonical layer in the place of the one that was found; returns its name."""
    for index, expert in enumerate(found.experts):
        try:
            operator = expert_operator(expert)
        except ValueError as error:
            raise MismatchError(f"expert {index}: {error}", anchor, matched=LAST_CHECK) from error
        narrow = [value.dtype for value in expert.inputs if value and value.dtype != ir.DataType.FLOAT]
        if operator == "Expert" and narrow:
            raise MismatchError(f"expert {index} has a bias of {narrow[0]}", anchor, matched=LAST_CHECK)
    layer = _layer_name(graph, anchor, found)
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
    if found.x.dtype != ir.DataType.FLOAT:
        result = tape.op("y_type", "CastLike", [result, found.x])

    for number, expert in enumerate(found.experts):
        _register(graph, expert, f"{layer}.experts.{number}")
    for constant in tape.constants:
        graph.register_initializer(constant)
    _replace(graph, found.output, result, tape.nodes)
    return layer


def _register(graph: ir.Graph, expert: ExpertWeights, unit: str) -> None:
    """Makes the expert's new constants initializers, named `layers.3.experts.17.up_proj.weight`."""
    names = [f"{part}_proj.weight" for part in ("gate", "up", "down")]
    names += [f"{part}_proj.bias" for part in ("gate", "up", "down")]
    for name, value in zip(names, expert.inputs, strict=False):
        if value is not None and not value.is_initializer():
            value.name = f"{unit}.{name}"
            if value.const_value is not None:
                value.const_value.name = value.name
            graph.register_initializer(value)


def _replace(graph: ir.Graph, old: ir.Value, new: ir.Value, nodes: Sequence[ir.Node]) -> None:
    """Inserts the nodes, gives `new` the name and users of `old`, and removes what made only `old`."""
    producer = old.producer()
    assert producer is not None
    graph.insert_before(producer, nodes)
    name = old.name
    new.type, new.shape = old.type, old.shape
    new.metadata_props.update(old.metadata_props)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name, new.name = None, name
    _remove_unused(graph, producer)


def _remove_unused(graph: ir.Graph, node: ir.Node) -> None:
    """Removes the node if nothing reads it, then likewise what it alone read."""
    candidates = [node]
    while candidates:
        node = candidates.pop()
        if node.graph is not graph or any(out.uses() or out.is_graph_output() for out in node.outputs):
            continue
        read = _detach(node)
        graph.remove(node, safe=True)
        for value in read:
            producer = value.producer()
            if producer is not None:
                candidates.append(producer)
            elif (
                graph.initializers.get(value.name or "") is value
                and not value.uses()
                and not value.is_graph_output()
                and not value.is_graph_input()
            ):
                del graph.initializers[value.name or ""]


def _detach(node: ir.Node) -> list[ir.Value]:
    """Frees what the node and the nodes of its subgraphs read; returns it, in graph order."""
    read: dict[ir.Value, None] = {}
    inner = [part for subgraph in _subgraphs(node) for part in ir.traversal.RecursiveGraphIterator(subgraph)]
    for part in [node, *inner]:
        for index, value in enumerate(part.inputs):
            if value is not None:
                read[value] = None
                part.replace_input_with(index, None)
    return list(read)


def _subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _layer_name(graph: ir.Graph, anchor: ir.Node, found: FoundLayer) -> str:
    """`layers.3` after the weights or nodes, else the next number that no layer has."""
    tensors = [value.const_value for value in found.experts[0].inputs if value is not None]
    number = _number([*(tensor.name for tensor in tensors if tensor), *_names_before(anchor)])
    taken = {
        int(match[1])
        for node in graph
        if node.domain == DOMAIN and (match := re.match(r"layers\.(\d+)\.", node.name or ""))
    }
    if number is None or number in taken:
        number = max(taken, default=-1) + 1
    return f"layers.{number}"


def _names_before(node: ir.Node) -> Iterator[str | None]:
    """Names of the node, what it reads, what made that, and so on: the nearest first."""
    seen, waiting = {node}, [node]
    for part in waiting:
        yield part.name
        for value in part.inputs:
            if value is None:
                continue
            yield value.name
            producer = value.producer()
            if producer is not None and producer not in seen and len(waiting) < NODES_SEARCHED:
                seen.add(producer)
                waiting.append(producer)


def _number(names: Iterable[str | None]) -> int | None:
    for name in names:
        if match := LAYER_NUMBER.search(name or ""):
            return int(match[1])
    return None
