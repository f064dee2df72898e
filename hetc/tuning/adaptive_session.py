"""A session that chooses its digital share by what its crossbars are like, and chooses again when asked."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

import onnxruntime

from hetc.bundle.bundle import Bundle
from hetc.bundle.files import MODEL
from hetc.bundle.noise_probe import PROGRAMMING, NoiseProbe, mean_noise
from hetc.plan.fractions import DigitalFraction
from hetc.plan.targets import targets_at
from hetc.runtimes.onnxruntime.session import open_session
from hetc.tuning.shares import Tuning, choose_share, load_tuning

__all__ = ["AdaptiveSession", "open_adaptive"]


class AdaptiveSession(onnxruntime.InferenceSession):  # type: ignore[misc]
    """An `onnxruntime.InferenceSession` at a share that `hetc tune` saw to do.

    Args:
        bundle: The bundle.
        tuning: What `hetc tune` saw of it.
        config: Session entries other than `hetc.digital_frac`.
        target_loss: Run at the smallest share that was seen below this loss with crossbars as noisy as these.
        energy: Or at the largest share that costs no more J per token.
        threads: Threads of the session; None leaves it to ONNX Runtime.

    Attributes:
        digital_frac: The share it runs at.
        noise: Relative error of the crossbars' products when they were last measured, mean over layers; None
            where `energy` decides.

    Raises:
        UsageError: No tuned share will do, the library refuses an entry, or the bundle was moved or replaced.
        RuntimeMissingError: The library or ONNX Runtime is missing or too old.
    """

    digital_frac: DigitalFraction
    noise: float | None

    def __init__(
        self,
        bundle: Bundle,
        tuning: Tuning,
        config: Mapping[str, str],
        *,
        target_loss: float | None,
        energy: float | None,
        threads: int | None = None,
    ) -> None:
        self._bundle, self._tuning = bundle, tuning
        self._target_loss, self._energy, self._threads = target_loss, energy, threads
        self._adapting = threading.Lock()
        self._open(config)

    def adapt(self, *, drift_time: float | None = None) -> DigitalFraction:
        """Measures the crossbars again, and reopens at the share that they now ask for.

        Runs of other threads meanwhile, and all runs after an error, are those of the session that was open
        before. Experts are not programmed twice: the session runs on what was programmed to be measured.
        Where single neurons are placed, each share has crossbars of its own, programmed beside those.

        Args:
            drift_time: Seconds since programming; None for what the session has.

        Returns:
            The share.

        Raises:
            UsageError: No tuned share will do, a time that is no number from 0 on, or the bundle was moved or
                replaced.
        """
        later = {} if drift_time is None else {"hetc.drift_time": str(drift_time)}
        with self._adapting:
            return self._open({**self._config, **later})

    def _open(self, config: Mapping[str, str]) -> DigitalFraction:
        self._bundle.check_unchanged()
        probe = None if self._target_loss is None else self._probe(config)
        noise = None if probe is None else mean_noise(probe.measure())
        share = choose_share(
            self._tuning, noise=noise or 0.0, target_loss=self._target_loss, energy=self._energy
        )
        entries = {**config, "hetc.digital_frac": str(share)}
        opened = open_session(self._bundle.path / MODEL, entries, threads=self._threads)
        programmed = None
        if probe is not None:  # let go of what is digital now
            plan = self._bundle.plan
            analog = {unit.id for unit in targets_at(plan, share) if unit.target == "analog"}
            programmed = self._probe(entries, analog)
            programmed.measure()
        self._bundle.check_unchanged()  # what was measured and opened is one bundle
        found = {"_config": config, "_programmed": programmed, "digital_frac": share, "noise": noise}
        # One assignment: whatever runs sees the session of before, or this one.
        self.__dict__ = {**vars(self), **vars(opened), **found}
        return share

    def _probe(self, config: Mapping[str, str], units: set[str] | None = None) -> NoiseProbe:
        noise = {key: value for key, value in config.items() if key in PROGRAMMING}
        return NoiseProbe(self._bundle.graph_file, noise, units, threads=self._threads)


def open_adaptive(
    bundle: Bundle,
    config: Mapping[str, str] = MappingProxyType({}),
    *,
    target_loss: float | None = None,
    energy: float | None = None,
    threads: int | None = None,
) -> AdaptiveSession:
    """What `Bundle.session` opens with `target_loss` or `energy`.

        >>> import hetc
        >>> bundle = hetc.compile("samples/tiny_moe/model.onnx", "adaptive.hetc", digital_frac=0)
        >>> tokens = "samples/tiny_moe/heldout.npz"
        >>> tuning = hetc.tune(bundle, tokens, window=64, windows=1, seeds=2, max_drop="9%")
        >>> session = hetc.open_adaptive(bundle, energy=1.0)
        >>> session.digital_frac in {share.digital_frac for share in tuning.shares}
        True

    Args:
        bundle: A bundle that `hetc tune` measured.
        config: Session entries other than `hetc.digital_frac`.
        target_loss: The loss to keep.
        energy: Or the J per token to stay within.
        threads: Threads of the session; None leaves it to ONNX Runtime.

    Raises:
        UsageError: The bundle was never tuned, or no tuned share will do.
        RuntimeMissingError: The library or ONNX Runtime is missing or too old.
    """
    tuning = load_tuning(bundle.path)
    return AdaptiveSession(bundle, tuning, config, target_loss=target_loss, energy=energy, threads=threads)
