"""hetc as a model of lm-eval's own command line.

lm-eval finds it by the entry point `lm_eval.models`, once it looks for those; releases up to 0.4.13 don't.
With any of them, this module runs lm-eval with hetc added:

    python -m hetc.evaluation.lm_eval_model run --model hetc --model_args bundle=my.hetc,seed=1 --tasks piqa
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from hetc.base.errors import UsageError
from hetc.compiler.loading import open_plan
from hetc.evaluation.running import running
from hetc.evaluation.tasks import LanguageModel
from hetc.model.batch_limit import BatchLimit

__all__ = ["HetcModel", "main"]

CHOICES = ("mode", "seed", "digital_frac", "noise_scale", "drift_time", "read_seed", "store", "low_memory")


class HetcModel(LanguageModel):
    """A bundle, or a plan on its checkpoint, opened from lm-eval's `--model_args`.

    Args:
        bundle: A bundle's folder, or a plan.json.
        checkpoint: Run the plan on this folder or hub id, in torch.
        batch_size: Texts at a time, or `auto`.
        max_batch_size: Taken, as lm-eval gives it to every model; `auto` finds the size itself.
        device: Where torch computes.
        choices: `mode`, `seed`, `digital_frac`, `noise_scale`, `drift_time`, `read_seed`, `store`,
            `low_memory`, as for `Bundle.session`.

    Raises:
        UsageError: No such bundle, or an argument that isn't known.
        HetcError: As for `hetc.evaluation.running.running`.
    """

    def __init__(
        self,
        bundle: str,
        checkpoint: str | None = None,
        batch_size: int | str = "auto",
        max_batch_size: int | None = None,
        device: str | None = None,
        **choices: Any,
    ) -> None:
        unknown = set(choices) - set(CHOICES)
        if unknown:
            raise UsageError(f"{', '.join(sorted(unknown))}: not known; bundles take {', '.join(CHOICES)}")
        size: Any = int(batch_size) if str(batch_size).isdecimal() else batch_size
        BatchLimit.of(size)
        # Open for as long as the model lives: lm-eval says of none when it is done.
        self.stack = ExitStack()
        opened = running(open_plan(bundle), checkpoint, device or "cpu", batch=size, **choices)
        model = self.stack.enter_context(opened)
        super().__init__(model.predict, model.generate, model.folder)


def main() -> None:
    """lm-eval's command line, which knows the model `hetc`."""
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import MODEL_REGISTRY, register_model

    if "hetc" not in MODEL_REGISTRY:
        register_model("hetc")(HetcModel)
    cli_evaluate()


if __name__ == "__main__":
    main()
