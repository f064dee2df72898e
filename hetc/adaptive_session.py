"""A session that chooses its digital share by what its crossbars are like, and chooses again when asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnxruntime

from hetc.bundle import MODEL
from hetc.cost import targets_at
from hetc.measured_noise import PROGRAMMING, NoiseProbe, mean_noise
from hetc.runtimes.onnxruntime.session import PROVIDERS, refusals, session_options
from hetc.tune import choose_share, load_tuning

if TYPE_CHECKING:
    from hetc.bundle import Bundle

__all__ = ["AdaptiveSession"]


class AdaptiveSession(onnxruntime.InferenceSession):  # type: ignore[misc]
    """An `onnxruntime.InferenceSession` at a share that `hetc tune` saw to do.

    Args:
        bundle: A tuned bundle.
        config: Session entries other than `hetc.digital_frac`.
        target_loss: Run at the smallest share that was seen below this loss with crossbars as noisy as these.
        energy: Or at the largest share that costs no more J per token.
        threads: Threads of the session; None leaves it to ONNX Runtime.

    Attributes:
        digital_frac: The share it runs at.
        noise: Relative error of the crossbars' products when they were last measured, mean over layers; None
            where `energy` decides.

    Raises:
        UsageError: A bundle that wasn't tuned, no share that will do, or an entry that the library refuses.
        RuntimeMissingError: The library or ONNX Runtime is missing or too old.
    """

    digital_frac: str
    noise: float | None

    def __init__(
        self,
        bundle: Bundle,
        config: Mapping[str, str],
        *,
        target_loss: float | None,
        energy: float | None,
        threads: int | None = None,
    ) -> None:
        self._bundle, self._config, self._threads = bundle, dict(config), threads
        self._target_loss, self._energy = target_loss, energy
        self._programmed: NoiseProbe | None = None
        self._open()

    def adapt(self, *, drift_time: float | None = None) -> str:
        """Measures the crossbars again, and reopens at the share that they now ask for.

        Nothing is programmed twice: the session runs on what was programmed to be measured.

        Args:
            drift_time: Seconds since programming; None for what the session has.

        Returns:
            The share.

        Raises:
            UsageError: No tuned share will do; the session goes on as it was.
        """
        if drift_time is not None:
            self._config["hetc.drift_time"] = str(drift_time)
        self._open()
        return self.digital_frac

    def _open(self) -> None:
        plan, model = self._bundle.plan, self._bundle.path / MODEL
        probe = self._probe({unit.id for unit in plan.units}) if self._target_loss is not None else None
        noise = None if probe is None else mean_noise(probe.measure())
        share = choose_share(
            load_tuning(self._bundle), noise=noise or 0.0, target_loss=self._target_loss, energy=self._energy
        )
        options = session_options({**self._config, "hetc.digital_frac": share}, threads=self._threads)
        with refusals(model):
            super().__init__(str(model), options, providers=PROVIDERS)
        self.digital_frac, self.noise = share, noise
        if probe is not None:  # let go of the experts that are digital now
            analog = {unit.id for unit in targets_at(plan, share) if unit.target == "analog"}
            self._programmed = self._probe(analog)
            self._programmed.measure()

    def _probe(self, units: set[str]) -> NoiseProbe:
        config = {key: value for key, value in self._config.items() if key in PROGRAMMING}
        return NoiseProbe(self._bundle.graph_file, config, units, threads=self._threads)
