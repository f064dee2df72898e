"""Labels follow the model's distribution, each by itself."""

from __future__ import annotations

import torch

from hetc.huggingface.live.labels import draw_labels


def test_labels_are_as_frequent_as_the_model_says() -> None:
    wanted = torch.tensor([0.0, 0.5, 0.0, 0.125, 0.375, 0.0])
    labels = draw_labels(wanted.expand(40, 500, 6), 0, seed=1)
    frequency = labels.flatten().bincount(minlength=6) / labels.numel()
    torch.testing.assert_close(frequency, wanted, rtol=0, atol=0.015)
    assert not frequency[wanted == 0].any()


def test_a_label_depends_on_seed_window_and_position_alone() -> None:
    probabilities = torch.rand(5, 7, 11, generator=torch.Generator().manual_seed(0)).softmax(-1)
    labels = draw_labels(probabilities, 0, seed=2**40)
    for index in range(5):
        assert torch.equal(draw_labels(probabilities[index : index + 1], index, seed=2**40)[0], labels[index])
    assert torch.equal(draw_labels(probabilities[:, :3], 0, seed=2**40), labels[:, :3])
    assert not torch.equal(draw_labels(probabilities, 1, seed=2**40), labels)
    assert not torch.equal(draw_labels(probabilities, 0, seed=0), labels)
