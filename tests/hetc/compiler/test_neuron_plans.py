"""Plans of neurons from elsewhere, and their file of ranks: what is missing, damaged or another's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import hetc
from models import moe_model, saved_moe_model

from hetc.base.errors import HetcError, InvalidInputError, UsageError
from hetc.bundle.bundle import Bundle, load_bundle
from hetc.compiler.compile import compile
from hetc.plan.plan import NEURONS

IDS = {"input_ids": np.arange(11)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return saved_moe_model(tmp_path)


@pytest.fixture
def bundle(source: Path, tmp_path: Path) -> Bundle:
    return compile(source, tmp_path / "bundle", granularity="neuron", digital_frac=0.25)


@pytest.fixture
def plan(bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the bundle's plan, with its neurons."""
    folder = tmp_path / "plan"
    folder.mkdir()
    for name in ("plan.json", NEURONS):
        shutil.copy(bundle.path / name, folder / name)
    return folder / "plan.json"


def fails(source: Path, plan: Path, kind: type[HetcError], match: str) -> None:
    """Compiling refuses, and leaves nothing."""
    before = sorted(plan.parents[1].rglob("*"))
    with pytest.raises(kind, match=match):
        compile(source, plan.parents[1] / "again", plan=plan)
    assert sorted(plan.parents[1].rglob("*")) == before


def test_a_plan_from_another_folder_makes_the_same_bundle(source: Path, bundle: Bundle, plan: Path) -> None:
    again = compile(source, plan.parent / "again", plan=plan)
    assert again.plan == bundle.plan
    np.testing.assert_array_equal(again.session().run(None, IDS)[0], bundle.session().run(None, IDS)[0])


def test_a_plan_without_its_neurons(source: Path, plan: Path) -> None:
    plan.with_name(NEURONS).unlink()
    fails(source, plan, UsageError, rf"plan .*plan.json keeps the ranks of its neurons in .*{NEURONS}")
    result = hetc("compile", source, "--plan", plan, "-o", plan.parent / "again")
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (plan.parent / "again").exists()


def test_another_plan_s_neurons(source: Path, plan: Path, tmp_path: Path) -> None:
    other = compile(source, tmp_path / "other", granularity="neuron", digital_frac=0.25, ranking="layer")
    shutil.copy(other.path / NEURONS, plan.with_name(NEURONS))
    fails(source, plan, InvalidInputError, "another plan's; copy a plan and its neurons together")


def test_neurons_of_another_size(source: Path, plan: Path, tmp_path: Path) -> None:
    other = compile(moe_model(hidden=32, inter=12), tmp_path / "other", granularity="neuron")
    shutil.copy(other.path / NEURONS, plan.with_name(NEURONS))
    fails(source, plan, InvalidInputError, r"array 'ranks/.*' must hold 16 numbers of type int32")


@pytest.mark.parametrize("content", [b"", b"no tensors"])
def test_a_file_that_holds_no_ranks(source: Path, plan: Path, content: bytes) -> None:
    plan.with_name(NEURONS).write_bytes(content)
    fails(source, plan, InvalidInputError, NEURONS)


def test_a_plan_of_another_model(plan: Path, tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir()
    fails(moe_model(hidden=32, inter=24), plan, InvalidInputError, "the plan was made for another one")  # type: ignore[arg-type]
    fails(moe_model(layers=1, hidden=32, inter=16), plan, InvalidInputError, "is not in the model")  # type: ignore[arg-type]


def test_damaged_neurons_of_a_bundle(bundle: Bundle) -> None:
    file = bundle.path / NEURONS
    content = file.read_bytes()
    assert NEURONS in bundle.manifest
    file.write_bytes(content[:-1])
    with pytest.raises(InvalidInputError, match=f"{NEURONS} changed since it was compiled"):
        load_bundle(bundle.path)
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InvalidInputError, match=f"neurons .*{NEURONS}: "):
        load_bundle(bundle.path)
    file.unlink()
    with pytest.raises(InvalidInputError, match=f"{NEURONS} is missing; compile it again"):
        load_bundle(bundle.path)
