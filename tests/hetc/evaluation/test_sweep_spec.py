"""What a sweep's file may say, what it means, and what is refused before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command_line import SAMPLE, hetc
from sweep_files import SMALLEST, SPEC, written

from hetc.base.errors import HetcError, InvalidInputError, UsageError
from hetc.evaluation.sweep_jobs import Job, jobs_of, placements_of
from hetc.evaluation.sweep_prepared import prepare
from hetc.evaluation.sweep_spec import Sweep, load_sweep
from hetc.hardware.profile import load_profile

MINE = """
name = "mine"
[noise]
model = "pcm"
form = "gaussian"
sigma = [0.5, 0.02]
scale = 4.0
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds =", "seed =", "unknown key seed"),
        ("seeds = 2", 'seeds = "2"', 'seeds is "2"; it must be a whole number'),
        ("seeds = 2", "seeds = 0", "seeds is 0; it must be at least 1"),
        ("seeds = 2", "seeds = 2.5", "seeds is 2.5; it must be a whole number"),
        ("[0, 0.5, 1]", "0.5", "fractions is 0.5; it must be a list"),
        (
            "[0, 0.5, 1]",
            "[true]",
            r"fractions\[0\] is true; it must be a number from 0 to 1, or text",
        ),
        ("[0, 0.5, 1]", "[1.5]", r"fractions\[0\] is 1.5; it must be a number from 0 to 1"),
        ("[0, 0.5, 1]", '["half"]', r'fractions\[0\] is "half"; it must be a number from 0 to 1'),
        ("[0, 0.5, 1]", '["150%"]', r'fractions\[0\] is "150%"; it must be a number from 0 to 1'),
        ("[0, 0.5, 1]", "[nan]", r"fractions\[0\] is nan; it must be a finite number"),
        ("[0, 0.5, 1]", "[0.5, 0.5]", "fractions is .* without repetitions"),
        ("[0, 0.5, 1]", '[0.5, "50%"]', "fractions is .* without repetitions"),
        ("[0, 0.5, 1]", "[]", "neither fractions nor kinds"),
        ('["maxnn", "random"]', "[]", "scores is .* at least 1"),
        ('["maxnn", "random"]', '["maxnn", "maxnn"]', "without repetitions"),
        ('["maxnn", "random"]', '"maxnn"', 'scores is "maxnn"; it must be a list'),
        ("[0, 8]", "[-1]", r"noise_scales\[0\] is -1; it must be at least 0"),
        ("[0, 8]", "[]", "noise_scales is .* at least 1"),
        ("[0, 8]", "[0]\nnoises = []", "noises is .* at least 1"),
        ("window = 64", "window = -5", "window is -5; it must be at least 2"),
        ("windows = 2", "windows = 0", "windows is 0; it must be at least 1"),
        ("window = 64", 'rankings = ["expert"]', "one of layer, model"),
        ("window = 64", 'device = "cuda"', "device needs checkpoint"),
        ("window = 64", "limit = 3", "limit needs tasks"),
        ("model =", "# model =", "model is missing"),
        ("data =", "# data =", "window needs data"),
        ("scores =", "[other]\nscores =", "unknown key other"),
        ("window = 64", "window =", "is not TOML"),
    ],
)
def test_bad_values_are_refused_by_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_sweep(written(tmp_path, SPEC.replace(old, new)))


def test_fractions_may_be_percentages(tmp_path: Path) -> None:
    written_so = load_sweep(written(tmp_path, SPEC.replace("[0, 0.5, 1]", '[0, "12.5%", "50 %", 1]')))
    assert written_so.fractions == (0, 0.125, 0.5, 1)
    assert replace(written_so, fractions=("12.5%",)).fractions == (0.125,)


def test_values_from_python_are_checked_alike() -> None:
    sweep = Sweep(SAMPLE / "model.onnx", SAMPLE / "heldout.npz")
    with pytest.raises(InvalidInputError, match="seeds is 0"):
        replace(sweep, seeds=0)
    with pytest.raises(InvalidInputError, match="scores is"):
        replace(sweep, scores=())
    with pytest.raises(InvalidInputError, match="data or tasks is missing"):
        Sweep(SAMPLE / "model.onnx")


def test_files_that_are_not_there_or_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_sweep(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"gone\.npz is not there"):
        load_sweep(written(tmp_path, SPEC.replace("heldout", "gone")))
    with pytest.raises(UsageError, match="gone is not a folder"):
        load_sweep(written(tmp_path, SPEC + 'checkpoint = "gone"\n'))
    (tmp_path / "latin.toml").write_bytes("# bär".encode("latin-1"))
    with pytest.raises(InvalidInputError, match="not UTF-8"):
        load_sweep(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kinds = ["attentoin"]', "kinds has 'attentoin'.*choose from expert, attention, lm_head, none, all"),
        ('kinds = ["router"]', "kinds has 'router'"),
        ('kinds = ["dense_mlp"]', "kinds has 'dense_mlp'"),
        ('kinds = ["none", "shared_expert"]', "kinds has 'shared_expert'"),
        ('scores = ["maxn"]', "score 'maxn' is not known"),
        ('scores = ["expected-loss"]', "hetc score"),
        ('noises = ["pmc"]', "noise model 'pmc' is not known"),
        ('analog = ["layers.9.*"]', "matches no unit"),
        ('profile = "pcm-51"', "neither a file nor one of"),
    ],
)
def test_what_the_model_lacks_is_refused_before_anything_runs(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(HetcError, match=message):
        prepare(load_sweep(written(tmp_path, SMALLEST + text)))


def test_a_misspelt_kind_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    spec = written(tmp_path, SMALLEST + 'kinds = ["attentoin"]\n')
    done = hetc("sweep", spec, "-o", tmp_path / "r.csv", "--jobs", "1")
    assert (done.returncode, "attentoin" in done.stderr) == (3, True)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.toml"]


def test_the_profile_is_that_of_the_file_beside_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, elsewhere = tmp_path / "beside", tmp_path / "elsewhere"
    for folder, scale in ((beside, "4.0"), (elsewhere, "9.0")):
        folder.mkdir()
        (folder / "mine.toml").write_text(MINE.replace("4.0", scale))
    monkeypatch.chdir(elsewhere)
    sweep = load_sweep(written(beside, SMALLEST + 'profile = "mine.toml"\n'))
    assert sweep.profile == load_profile(beside / "mine.toml")
    assert load_sweep(written(beside, SMALLEST + 'profile = "hermes-256"\n')).profile.name == "hermes-256"


def test_jobs_carry_the_profile_as_a_value(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINE)
    mine = load_profile(tmp_path / "mine.toml")
    text = SMALLEST + 'profile = "mine.toml"\n'
    assert jobs_of(load_sweep(written(tmp_path, text))) == [Job(mine, 0)]
    jobs = jobs_of(load_sweep(written(tmp_path, text + 'noise_scales = [1]\nnoises = ["pcm", "afm"]\n')))
    assert jobs == [Job(replace(mine, noise_scale=1.0), 0), Job(mine.with_noise("afm", 1.0), 0)]


def test_one_seed_where_nothing_is_drawn(tmp_path: Path) -> None:
    sweep = load_sweep(written(tmp_path))
    own = sweep.profile
    scaled = [replace(own, noise_scale=scale) for scale in (0.0, 8.0, 8.0)]
    assert jobs_of(sweep) == [Job(profile, seed) for profile, seed in zip(scaled, (0, 0, 1), strict=True)]
    drifting = replace(sweep, profile=replace(own, drift_time=3600.0), noise_scales=(0,))
    assert [job.seed for job in jobs_of(drifting)] == [0, 1]
    assert [job.seed for job in jobs_of(replace(sweep, noises=("none",), noise_scales=(1,)))] == [0]


def test_placements(tmp_path: Path) -> None:
    assert [(placed.label, placed.by_seed) for placed in placements_of(load_sweep(written(tmp_path)))] == [
        ("maxnn", False),
        ("random", True),
    ]
    kinds_alone = SPEC.replace("[0, 0.5, 1]", "[]") + 'kinds = ["expert", "attention"]\n'
    placements = placements_of(load_sweep(written(tmp_path, kinds_alone)))
    assert [(placed.kind, placed.fractions) for placed in placements] == [
        ("expert", (0,)),
        ("attention", (1,)),
    ]


@pytest.mark.parametrize(
    "file", sorted((SAMPLE.parent / "sweeps").glob("*.toml")), ids=lambda file: file.stem
)
def test_sweeps_of_the_samples_are_ones_that_load(file: Path) -> None:
    if "build" in file.read_text():
        pytest.skip("names files that `make evidence` makes")
    sweep = load_sweep(file)
    assert jobs_of(sweep) and placements_of(sweep)


def test_text_is_read_with_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("import os\n" * 40)
    spec = tmp_path / "sweep.toml"
    lines = [f'model = "{SAMPLE / "model.onnx"}"', 'data = "text.txt"', "window = 32", "seeds = 1"]
    spec.write_text("\n".join(lines))
    with pytest.raises(UsageError, match="needs a tokenizer"):
        prepare(load_sweep(spec))
    spec.write_text("\n".join([*lines, f'tokenizer = "{SAMPLE}"']))
    windows = prepare(load_sweep(spec)).work.windows
    assert windows is not None and windows.shape[1] == 32
