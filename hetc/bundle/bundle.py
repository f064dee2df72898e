"""The bundle: the folder that is deployed, opened with its files checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import onnx

from hetc.base.errors import InvalidInputError, UsageError
from hetc.base.reading import read_json
from hetc.base.schema import check_record
from hetc.bundle.files import MANIFEST, MODEL, PLAN, PORTABLE_MODEL, TUNING, describe, is_bundle
from hetc.model.hub import NOT_FROM_THE_HUB, as_hub_id, is_hub_id
from hetc.operators.words import Mode, Store
from hetc.plan.fractions import DigitalFraction, FractionLike
from hetc.plan.plan import Plan

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Bundle", "BundleLike", "file_identity", "load_bundle", "opened_bundle"]


PROGRAMMING = ("hetc.seed", "hetc.digital_frac", "hetc.noise_scale", "hetc.drift_time", "hetc.store")
"""What a session can choose only where it programs the clean weights."""


@dataclass(frozen=True, repr=False)
class Bundle:
    """An opened bundle.

    Attributes:
        path: Its folder, absolute: it stays the same when the working directory changes.
        plan: Its plan.
        manifest: For each file its sha256 and size, and for linked weights also device, inode and mtime.
        baked: For a bundle that `hetc bake` wrote: `seed`, `noise_scale`, `drift_time` and `store` of the
            noise in its weights. None for others.
    """

    path: Path
    plan: Plan
    manifest: Mapping[str, Mapping[str, Any]]
    baked: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        digital, analog, _ = self.plan.shares.percent()
        return f"Bundle({self.path.name!r}, digital {digital:.2f} %, analog {analog:.2f} %)"

    def _repr_html_(self) -> str:
        """What a notebook shows: the folder and its plan."""
        baked = "" if self.baked is None else f", baked with seed {self.baked['seed']}"
        return f"<p>{escape(str(self.path))}{baked}</p>{self.plan._repr_html_()}"

    @property
    def weights_hold(self) -> str | None:
        """Why the weights of analog units are not the clean ones, in words; None where they are."""
        if self.baked is not None:
            return "it is baked, its noise is in its weights"
        if self.plan.conductances is not None:
            return "it runs on measured conductances"
        return None

    @property
    def graph_file(self) -> Path:
        """The model without a guard: what is cut or rewritten further."""
        return self.path / (PORTABLE_MODEL if self.baked is None else MODEL)

    def require_tokens(self, command: str) -> None:
        """Sees that it is a language model, before a tokenizer is looked for or weights are programmed.

        Args:
            command: What needs one.

        Raises:
            InvalidInputError: It takes no `input_ids`.
        """
        graph = onnx.load(self.path / MODEL, load_external_data=False).graph
        names = [value.name for value in graph.input]
        if "input_ids" not in names:
            raise InvalidInputError(
                f"bundle {self.path} takes {', '.join(names)}, and no input_ids: `hetc {command}` needs "
                "a language model; other models run through `hetc.load_bundle(...).session()`"
            )

    def check_unchanged(self) -> None:
        """Sees that the folder still holds what was opened, so that no plan meets another bundle's model.

        Raises:
            UsageError: It was moved, removed or replaced.
            InvalidInputError: Its files are missing or changed.
        """
        manifest, baked = _read_manifest(self.path)
        if (manifest, baked) != (self.manifest, self.baked):
            raise UsageError(f"bundle {self.path} was replaced since it was opened; open it again")

    def session(
        self,
        *,
        mode: Mode | None = None,
        seed: int | None = None,
        digital_frac: FractionLike | None = None,
        noise_scale: float | None = None,
        drift_time: float | None = None,
        read_seed: int | None = None,
        store: Store | None = None,
        stats_file: Path | None = None,
        threads: int | None = None,
        low_memory: bool = False,
        target_loss: float | None = None,
        energy: float | None = None,
    ) -> onnxruntime.InferenceSession:
        """Opens the model with the installed operator library.

        Args:
            mode: `exact`, `converters` or `noisy`; None for what was compiled (noisy).
            seed: Programming seed; None for the plan's.
            digital_frac: Share of each group's experts, or neurons, that runs digital; may only exceed the
                compiled one.
            noise_scale: Factor c on the programming noise; None for the profile's.
            drift_time: Seconds since programming; None for the profile's.
            read_seed: Seed of the array's reading and of every product's noise; None for 0.
            store: What programmed weights are kept as: `bfloat16` (default), `float32` or `int8`.
            stats_file: Where analog kernels add what they saw (see `hetc.plan.calibration`) when the
                session ends.
            threads: Threads of the session; None leaves it to ONNX Runtime.
            low_memory: Leave weights of standard operators unpacked in the file map; their products
                get slower.
            target_loss: Instead of `digital_frac`: the smallest share that `hetc tune` saw below this loss
                with crossbars that err at least as much as these do now.
            energy: Instead of `digital_frac`: the largest tuned share that costs no more J per token.

        Returns:
            A session; with `target_loss` or `energy` an `AdaptiveSession`, whose `adapt()` measures the
            crossbars again and reopens it at the share that they then ask for.

        Raises:
            UsageError: A value out of range, a share below the compiled one, any choice of noise or mode for
                a baked bundle, one of programming for measured conductances, no tuned share that will do, or
                a bundle that was moved or replaced.
            RuntimeMissingError: The library or ONNX Runtime is missing or too old.
        """
        from hetc.runtimes.onnxruntime.session import open_session

        self.check_unchanged()
        adaptive = target_loss is not None or energy is not None
        if adaptive and digital_frac is not None:
            raise UsageError("give digital_frac, or target_loss or energy to choose it")
        if digital_frac is not None:
            self._check_fraction(digital_frac)
        config = {
            "hetc.mode": mode,
            "hetc.seed": seed,
            "hetc.digital_frac": None if digital_frac is None else DigitalFraction(digital_frac),
            "hetc.noise_scale": noise_scale,
            "hetc.drift_time": drift_time,
            "hetc.read_seed": read_seed,
            "hetc.store": store,
            "hetc.stats_file": None if stats_file is None else Path(stats_file).absolute(),
        }
        given = [key for key, value in config.items() if value is not None]
        if self.baked is None:
            given = [key for key in given if key in PROGRAMMING]
        if self.weights_hold is not None and given:
            raise UsageError(
                f"bundle {self.path}: {self.weights_hold}: {given[0]} cannot be chosen; open the bundle that "
                "it was made of"
            )
        config["session.disable_prepacking"] = 1 if low_memory else None
        entries = {key: str(value) for key, value in config.items() if value is not None}
        if adaptive:
            import hetc  # the one call that goes up, through the public face

            return hetc.open_adaptive(self, entries, target_loss=target_loss, energy=energy, threads=threads)
        return open_session(self.path / MODEL, entries, threads=threads)

    def measure_noise(
        self,
        *,
        seed: int | None = None,
        noise_scale: float | None = None,
        drift_time: float | None = None,
        store: Store | None = None,
    ) -> dict[str, float]:
        """Relative error of the crossbars' products by layer, from probe vectors (`hetc.bundle.noise_probe`).

        Args:
            seed: As in `session`, like all others.
            noise_scale: Factor c.
            drift_time: Seconds.
            store: Of programmed weights.

        Raises:
            UsageError: A value out of range, a baked bundle, whose clean weights are gone, or one that was
                moved or replaced.
            RuntimeMissingError: The library or ONNX Runtime is missing or too old.
        """
        from hetc.bundle.noise_probe import NoiseProbe

        self.check_unchanged()
        if self.weights_hold is not None:
            raise UsageError(
                f"bundle {self.path}: {self.weights_hold}: there are no clean weights to compare with"
            )
        config = {
            "hetc.seed": seed,
            "hetc.noise_scale": noise_scale,
            "hetc.drift_time": drift_time,
            "hetc.store": store,
        }
        given = {key: str(value) for key, value in config.items() if value is not None}
        return NoiseProbe(self.graph_file, given).measure()

    def _check_fraction(self, digital_frac: FractionLike) -> None:
        fraction, compiled = DigitalFraction(digital_frac), self.plan.digital_frac
        sizes = {unit.group_size for unit in self.plan.units if unit.follows_fraction}
        if any(fraction.count(size) < compiled.count(size) for size in sizes):
            raise UsageError(
                f"digital fraction {fraction} is below the {compiled} that {self.path} was compiled with; "
                "compile at 0 to choose any fraction per session"
            )


BundleLike = Union[Bundle, str, Path]
"""A bundle that was opened, or its folder."""


def load_bundle(path: str | Path) -> Bundle:
    """Opens a bundle and checks that every file of its manifest is there, at its size.

    Weights that were linked must be the very file that was linked; `hetc verify` compares all hashes.

        >>> import hetc
        >>> made = hetc.compile("samples/tiny_moe/model.onnx", "opened.hetc", digital_frac=0)
        >>> hetc.load_bundle("opened.hetc").plan
        Plan(74 units, digital 13.76 %, analog 82.53 %)

    Args:
        path: Its folder.

    Raises:
        UsageError: No such folder.
        InvalidInputError: Not a bundle, or one whose files are missing or changed.
    """
    if is_hub_id(path):
        raise UsageError(f"{as_hub_id(path)} is on the hub, {NOT_FROM_THE_HUB}")
    path = Path(path).absolute()
    manifest, baked = _read_manifest(path)
    return Bundle(path, Plan.load(path / PLAN), manifest, baked)


def opened_bundle(bundle: BundleLike) -> Bundle:
    """The bundle itself, if it still is what was opened, or the one in a folder; errors as `load_bundle`."""
    if not isinstance(bundle, Bundle):
        return load_bundle(bundle)
    bundle.check_unchanged()
    return bundle


def _read_manifest(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """What was compiled, file by file, and what was baked; every file is there, at its size."""
    if not path.exists():
        raise UsageError(f"bundle {path}: no such folder")
    if not is_bundle(path):
        raise UsageError(f"{path} is {describe(path)}; give a bundle, the folder that `hetc compile` writes")
    where = f"bundle {path}: {MANIFEST}"
    try:
        record = read_json(path / MANIFEST, "manifest")
    except (InvalidInputError, UsageError) as error:
        raise InvalidInputError(f"{where} is missing or damaged ({error}); compile it again") from error
    check_record(record, "manifest", where)
    manifest = record["files"]
    manifest.pop(TUNING, None)  # hetc 0.1.0 listed it
    for name, entry in manifest.items():
        file = path / name
        if not file.is_file():
            raise InvalidInputError(f"bundle {path}: {name} is missing; compile it again")
        if file_identity(file, entry) != entry:
            raise InvalidInputError(f"bundle {path}: {name} changed since it was compiled; compile it again")
    return manifest, record.get("baked")


def file_identity(file: Path, like: Mapping[str, Any]) -> dict[str, Any]:
    """What can be said of a file without reading it, for the keys of `like`; sha256 is taken over."""
    status = file.stat()
    known = {
        "size": status.st_size,
        "device": status.st_dev,
        "inode": status.st_ino,
        "mtime_ns": status.st_mtime_ns,
    }
    return {key: known.get(key, value) for key, value in like.items()}
