"""Every expert computes every token, and a mask chooses: onnxruntime/mobius' portable form.

    y = sum over e of Mul(expert_e(x), ReduceSum(Mul(weights, Cast(Equal(chosen, e))), -1))

`chosen` and `weights` `[..., K]` may come from any router that chooses among all of the experts; it stays as
it is. mobius has TopK, SoftmaxTopK, SigmoidTopK and SparseMixer gates, DeepSeek's groups and gpt-oss' bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import onnx_ir as ir

from hetc.passes.spellings.constants import small_constant
from hetc.passes.spellings.matched.expert_pattern import match_expert
from hetc.passes.spellings.matched.routing import router_choice
from hetc.passes.spellings.spelling import FoundLayer, MismatchError

__all__ = ["NAME", "anchors", "recognise"]

NAME = "dense loop (every expert on every token)"


def anchors(graph: ir.Graph) -> Iterator[ir.Node]:
    """For each value that is compared with constants and masks weights: the first such Equal."""
    seen: set[ir.Value] = set()
    for node in graph:
        compared = _compared(node)
        if compared is not None and compared[0] not in seen and _mask_sum(node) is not None:
            seen.add(compared[0])
            yield node


def recognise(node: ir.Node) -> FoundLayer:
    """The layer of the mask that the node makes.

    Raises:
        MismatchError: The experts or their sum are something else.
    """
    compared = _compared(node)
    assert compared is not None
    chosen = compared[0]
    shares: dict[int, ir.Value] = {}
    weights: dict[ir.Value, None] = {}
    for user, _ in chosen.uses():
        found, compared = _mask_sum(user), _compared(user)
        if found is None or compared is None:
            continue
        if compared[1] in shares:
            raise MismatchError(f"expert {compared[1]} is there twice", user, matched=1)
        shares[compared[1]] = found[0]
        weights[found[1]] = None
    count = len(shares)
    if sorted(shares) != list(range(count)):
        raise MismatchError(f"experts {sorted(shares)} are there, not 0 to {count - 1}", node, matched=1)
    if len(weights) != 1:
        raise MismatchError("the experts are weighted by different values", node, matched=1)
    _require_rows(next(iter(weights)), node)
    choice = router_choice(chosen, node)
    if choice.experts != count:
        raise MismatchError(
            f"the router knows {choice.experts} experts, the layer has {count}", node, matched=1
        )
    terms, experts = [], []
    for expert in range(count):
        term, output = _weighted(shares[expert], node)
        terms.append(term)
        experts.append(match_expert(output, node))
    first = experts[0]
    for index, other in enumerate(experts):
        if replace(other, weights=first.weights) != first:
            raise MismatchError(f"expert {index} differs from expert 0 in input or form", node, matched=3)
    return FoundLayer(
        x=first.x,
        top_k_index=chosen,
        top_k_weight=next(iter(weights)),
        experts=tuple(expert.weights for expert in experts),
        output=_total(terms, node),
        top_k=choice.top_k,
        hidden_size=first.hidden_size,
        activation=first.activation,
        activation_attributes=first.activation_attributes,
        transpose_weight=first.transpose_weight,
    )


def _compared(node: ir.Node) -> tuple[ir.Value, int] | None:
    """What an Equal compares with which constant."""
    if node.op_type != "Equal" or node.domain != "":
        return None
    for value, other in (node.inputs, tuple(reversed(node.inputs))):
        number = small_constant(other)
        if value is not None and number is not None and number.size == 1 and small_constant(value) is None:
            return value, int(number.item())
    return None


def _mask_sum(equal: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """`ReduceSum(Mul(weights, Cast(equal)), -1)`: the sum, and the weights."""
    cast = _only_user(equal.outputs[0], "Cast", "CastLike")
    product = cast and _only_user(cast.outputs[0], "Mul")
    total = product and _only_user(product.outputs[0], "ReduceSum")
    if cast is None or product is None or total is None or not total.attributes.get_int("keepdims", 1):
        return None
    axes = small_constant(total.inputs[1]) if len(total.inputs) > 1 else None
    if axes is None or axes.size != 1:
        return None
    rank = len(total.inputs[0].shape or ()) if total.inputs[0] is not None else 0
    if int(axes.item()) != -1 and (not rank or int(axes.item()) != rank - 1):
        return None
    weights = [value for value in product.inputs if value is not cast.outputs[0]]
    return (total.outputs[0], weights[0]) if len(weights) == 1 and weights[0] is not None else None


def _require_rows(weights: ir.Value, node: ir.Node) -> None:
    """Refuses weights that a reduction without its axis may have broadcast from `[T, K]` to `[T, T]`."""
    waiting, seen = [weights], {weights}
    for value in waiting:
        maker = value.producer()
        if maker is None or maker.op_type in ("TopK", "MatMul", "Gemm"):
            continue
        if maker.op_type.startswith("Reduce") and not maker.attributes.get_int("keepdims", 1):
            raise MismatchError("a reduction in the router drops the axis of the choices", maker, matched=1)
        new = [source for source in maker.inputs if source is not None and source not in seen]
        seen.update(new)
        waiting += new


def _weighted(share: ir.Value, node: ir.Node) -> tuple[ir.Value, ir.Value]:
    """`Mul(output, share)`: the product, and the expert's output."""
    product = _only_user(share, "Mul")
    if product is None:
        raise MismatchError("an expert's weight is not multiplied with its output", node, matched=1)
    (output,) = [value for value in product.inputs if value is not share] or [None]
    if output is None:
        raise MismatchError("an expert's weight is squared", product, matched=1)
    return product.outputs[0], output


def _only_user(value: ir.Value, *operators: str) -> ir.Node | None:
    """The one node that reads the value, if it is one of these operators."""
    users = [node for node, _ in value.uses()]
    if len(users) != 1 or value.is_graph_output() or users[0].domain or users[0].op_type not in operators:
        return None
    return users[0]


def _total(terms: Iterable[ir.Value], node: ir.Node) -> ir.Value:
    """The sum of exactly these terms, however its additions are bracketed."""
    waiting = list(terms)
    wanted = len(waiting)
    counts = dict.fromkeys(waiting, 1)
    while waiting:
        value = waiting.pop()
        if counts.get(value) == wanted:
            return value
        for user in value.consumers():
            parts = [source for source in user.inputs if source is not None]
            if user.op_type not in ("Add", "Sum") or user.domain or len(set(parts)) < len(user.inputs):
                continue
            if all(part in counts for part in parts):
                # What has been added once can't be added again.
                counts[user.outputs[0]] = sum(counts.pop(part) for part in parts)
                waiting.append(user.outputs[0])
                break
    raise MismatchError("the weighted outputs of the experts are not simply added up", node, matched=4)
