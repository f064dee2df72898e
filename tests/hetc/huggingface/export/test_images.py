"""Models of text and images: text part and vision tower together equal transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from families import VOCABULARY, save_random_model  # noqa: E402
from model_types import IMAGE_TOKEN, WITH_IMAGES, tiny_config  # noqa: E402
from test_export import TOLERANCE  # noqa: E402

from hetc.base.errors import InvalidInputError  # noqa: E402
from hetc.compiler.compile import compile  # noqa: E402
from hetc.huggingface.export import images  # noqa: E402
from hetc.huggingface.export.export import export  # noqa: E402
from hetc.huggingface.export.skeleton import build_skeleton  # noqa: E402

# Two prompts of an image of four tokens each; the first is padded on the left.
MASK = np.ones((2, 12), np.int64)
MASK[0, :2] = 0
TOKENS = np.random.default_rng(0).integers(3, IMAGE_TOKEN, MASK.shape)
TOKENS[0, 3:7] = TOKENS[1, 5:9] = IMAGE_TOKEN
IMAGE_INPUTS = ("image_features", "deepstack_features")


def llama4_reference(model: Any) -> tuple[np.ndarray, np.ndarray, list[dict[str, np.ndarray]]]:
    """By its parts: the whole of transformers 5.24 asks its text part for outputs that it hasn't."""
    pixels = torch.randn(2, 3, 16, 16)
    seen = model.get_image_features(pixels).last_hidden_state
    ids = torch.from_numpy(TOKENS)
    embedded = model.get_input_embeddings()(ids)
    rows = model.multi_modal_projector(seen.flatten(0, 1))
    embedded = embedded.masked_scatter((ids == IMAGE_TOKEN).unsqueeze(-1), rows)
    positions = np.maximum(MASK.cumsum(axis=1) - 1, 0)
    logits = model.language_model(
        inputs_embeds=embedded,
        attention_mask=torch.from_numpy(MASK),
        position_ids=torch.from_numpy(positions),
    ).logits
    return logits.numpy(), positions, [{"pixel_values": pixels.numpy()}]


def qwen3_vl_moe_reference(model: Any) -> tuple[np.ndarray, np.ndarray, list[dict[str, np.ndarray]]]:
    """Its images have other numbers of rows and columns."""
    grids = torch.tensor([[1, 2, 8], [1, 4, 4]])
    pixels = torch.randn(32, 96)
    ids, mask = torch.from_numpy(TOKENS), torch.from_numpy(MASK)
    given = {"image_grid_thw": grids, "mm_token_type_ids": (ids == IMAGE_TOKEN).int()}
    logits = model(input_ids=ids, attention_mask=mask, pixel_values=pixels, **given).logits
    positions, _ = model.model.get_rope_index(ids, attention_mask=mask, **given)
    seen = [
        {"pixel_values": pixels[part].numpy(), "image_grid_thw": grid[None].numpy()}
        for part, grid in zip((slice(16), slice(16, 32)), grids, strict=True)
    ]
    return logits.numpy(), positions.numpy(), seen


REFERENCES = {"llama4": llama4_reference, "qwen3_vl_moe": qwen3_vl_moe_reference}


def check_images(model_type: str, folder: Path) -> str:
    """Export a tiny model, look at images with its vision tower, and compare the text part's logits."""
    config = tiny_config(model_type)
    auto_class = transformers.AutoModelForImageTextToText
    model = save_random_model(config, folder / "checkpoint", auto_class=auto_class)
    path = export(folder / "checkpoint", folder / "exported")
    torch.manual_seed(0)
    with torch.no_grad():
        expected, positions, images = REFERENCES[model_type](model)
        ids = np.random.default_rng(1).integers(3, IMAGE_TOKEN, (2, 9))
        plain = getattr(model, "language_model", model)(input_ids=torch.from_numpy(ids)).logits.numpy()
    vision = onnxruntime.InferenceSession(path.with_name("vision.onnx"))
    seen = [vision.run(None, one) for one in images]
    features = {
        name: np.concatenate(parts, axis=-2) for name, *parts in zip(IMAGE_INPUTS, *seen, strict=False)
    }
    real = MASK.astype(bool)
    for chunks in ([12], [9, 1, 2]):
        actual = run_text(path, TOKENS, MASK, positions, features, chunks)
        assert np.abs(actual - expected)[real].max() <= TOLERANCE, chunks
    blind = {name: rows[..., :0, :] for name, rows in features.items()}
    assert np.abs(run_text(path, TOKENS, MASK, positions, blind, [12]) - expected)[real].max() > 0.1
    places = np.broadcast_to(np.arange(9), (*positions.shape[:-2], 2, 9))
    actual = run_text(path, ids, np.ones_like(ids), places, blind, [4, 1, 4])
    assert np.abs(actual - plain).max() <= TOLERANCE
    return ""


def run_text(
    path: Path,
    ids: np.ndarray,
    mask: np.ndarray,
    positions: np.ndarray,
    features: dict[str, np.ndarray],
    chunks: list[int],
) -> np.ndarray:
    """Logits of the text part, fed in chunks; the images lie in the first."""
    session = onnxruntime.InferenceSession(path)
    sizes = {"batch": len(ids), "past_sequence": 0}
    cache = {
        one.name: np.zeros([sizes.get(size, size) for size in one.shape], np.float32)
        for one in session.get_inputs()
        if one.name.startswith("past_key_values")
    }
    logits, start = [], 0
    for chunk in chunks:
        end = start + chunk
        feeds = {
            "input_ids": ids[:, start:end],
            "attention_mask": mask[:, :end],
            "position_ids": positions[..., start:end],
            **features,
        }
        first, *present = session.run(None, {**feeds, **cache})
        cache = dict(zip(cache, present, strict=True))
        features = {name: rows[..., :0, :] for name, rows in features.items()}
        logits.append(first)
        start = end
    return np.concatenate(logits, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted(WITH_IMAGES))
def test_model_of_text_and_images(model_type: str, tmp_path: Path) -> None:
    assert check_images(model_type, tmp_path) == ""
    bundle = compile(tmp_path / "exported", tmp_path / "out.hetc")
    (tower,) = (finding for finding in bundle.plan.findings if "vision" in finding.reason)
    assert "stays digital" in tower.reason
    assert not any("visual" in matrix.weight for unit in bundle.plan.units for matrix in unit.matrices)
    pixels = {"pixel_values": np.zeros((2, 3, 16, 16), np.float32)}
    if model_type == "qwen3_vl_moe":
        pixels = {"pixel_values": np.zeros((16, 96), np.float32), "image_grid_thw": np.array([[1, 4, 4]])}
    before, after = (
        onnxruntime.InferenceSession(folder / "vision.onnx").run(None, pixels)
        for folder in (tmp_path / "exported", bundle.path)
    )
    np.testing.assert_array_equal(after[0], before[0])


def test_rows_are_put_where_the_tokens_are() -> None:
    embedded = torch.randn(2, 5, 3)
    mask = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]).bool().unsqueeze(-1)
    rows = torch.randn(3, 3)
    expected = embedded.masked_scatter(mask, rows)
    assert torch.equal(images._put_rows(embedded, mask, rows), expected)
    # Of fewer rows, and of none, the tokens beyond stay what they were.
    assert torch.equal(images._put_rows(embedded, mask, rows[:2])[1], embedded[1])
    assert torch.equal(images._put_rows(embedded, mask, rows[:0]), embedded)


def test_a_model_of_text_takes_no_images() -> None:
    assert images.image_inputs(tiny_config("olmoe")) is None
    found = images.image_inputs(tiny_config("qwen3_vl_moe"))
    assert found is not None and (found.width, found.depths, found.axes) == (32, 2, 3)
    assert VOCABULARY > IMAGE_TOKEN


def test_images_of_other_types_are_refused_by_name(tmp_path: Path) -> None:
    tiny_config("aria").save_pretrained(tmp_path)
    with pytest.raises(
        InvalidInputError, match=r"aria is not .* With its images, hetc exports llama4 and qwen3_vl_moe"
    ):
        build_skeleton(tmp_path)
