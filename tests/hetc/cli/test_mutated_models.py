"""A damaged model ends every command with a documented exit code and one message: 0, 2, 3 or 5, never 1."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from command_line import hetc
from layer_builder import Layer
from models import moe_model
from mutations import mutate_bytes, mutate_field
from spelled_layers import spell

ALLOWED = {0, 2, 3, 5}
FAST = 12
BLOCK = 130
"""Seeds in one of the slow tests, of which there are ten: each damages a field, then some bytes."""


def originals(folder: Path) -> list[onnx.ModelProto]:
    """A canonical model, one with weights in a file, and one whose layer has to be raised."""
    in_file_model = moe_model(layers=1, experts=2, hidden=32, inter=16, vocabulary=5)
    ir.save(in_file_model, folder / "x.onnx", external_data="weights.bin")
    in_file = onnx.load(folder / "x.onnx", load_external_data=False)
    (folder / "x.onnx").unlink()
    canonical = moe_model(layers=1, experts=2, hidden=4, inter=3, vocabulary=5)
    spelled, _ = spell("dense_mask", Layer(experts=2, top_k=1, hidden=4, inter=3))
    return [ir.to_proto(canonical), in_file, ir.to_proto(spelled)]


def assert_documented(folder: Path, seeds: range) -> None:
    models = originals(folder)
    path, output = folder / "model.onnx", folder / "out.hetc"
    for seed in seeds:
        original = models[seed % len(models)]
        for data in (mutate_field(original, seed), mutate_bytes(original.SerializeToString(), seed)):
            path.write_bytes(data)
            for command in (["inspect", path], ["compile", path, "-o", output, "--digital-frac", "0"]):
                result = hetc(*command, cwd=folder)
                assert result.returncode in ALLOWED, (seed, command[0], result.stderr)
                assert "Traceback" not in result.stderr, (seed, command[0], result.stderr)
                assert output.is_dir() == (result.returncode == 0 and command[0] == "compile")
            shutil.rmtree(output, ignore_errors=True)


def test_some_mutations(tmp_path: Path) -> None:
    assert_documented(tmp_path, range(FAST))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_many_mutations(block: int, tmp_path: Path) -> None:
    assert_documented(tmp_path, range(block * BLOCK, (block + 1) * BLOCK))
