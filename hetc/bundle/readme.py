"""The README of a bundle: how to run it in Python, C, onnxruntime-genai, and without the library."""

from __future__ import annotations

from pathlib import Path

from hetc.base.version import __version__
from hetc.bundle.files import MODEL, PORTABLE_MODEL
from hetc.plan.plan import Plan

__all__ = ["bundle_readme"]

HEAD = """\
# A bundle of hetc {version}

{title}: {digital:.2f} % of its parameters run digital, {analog:.2f} % analog, the rest is not counted.
Hardware {profile}, noise {programming}, seed {seed}. `plan.json` says where each unit runs and
why (`hetc inspect .`, `hetc explain . UNIT`), `manifest.json` has a hash of each file. All commands below
are for this folder.
"""

PYTHON = """
## Python

With hetc, a session is an `onnxruntime.InferenceSession`:

```python
import hetc

session = hetc.load_bundle(".").session(seed={seed})
```

Or ask it something, where there is a tokenizer: `hetc run . --prompt "Once upon a time"`. With ONNX
Runtime 1.24 or newer alone:

```python
import onnxruntime

options = onnxruntime.SessionOptions()
options.register_custom_ops_library("{library}")
options.add_session_config_entry("hetc.seed", "{seed}")
session = onnxruntime.InferenceSession("{model}", options)
```

Entries such as `hetc.seed`, `hetc.mode` (`exact`, `converters` or `noisy`) and `hetc.digital_frac` choose
how a session computes. The library is for the system in its path; elsewhere, register the one that comes with
the hetc that is installed there.

## C

The same calls of ONNX Runtime's C API, with `ort` from `OrtGetApiBase()->GetApi(24)`; each gives a status
that is to be checked:

```c
OrtEnv* env;
OrtSessionOptions* options;
OrtSession* session;
ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "hetc", &env);
ort->CreateSessionOptions(&options);
ort->RegisterCustomOpsLibrary_V2(options, "{library}");
ort->AddSessionConfigEntry(options, "hetc.seed", "{seed}");
ort->CreateSession(env, "{model}", options, &session);
```
"""

GENAI = """
## onnxruntime-genai

`genai_config.json` names model and library:

```python
import onnxruntime_genai

model = onnxruntime_genai.Model(".")
```
"""

WITHOUT = """
## Without the library

`{portable}` is the same model with standard operators only and without noise, for any ONNX runtime:

```python
import onnxruntime

session = onnxruntime.InferenceSession("{portable}")
```

`{model}` itself doesn't load without the library, so that nothing runs it clean by mistake. `hetc bake . -o
FOLDER` writes the noise of one seed into the weights of a model that needs no library.
"""

BAKED = """
## Running it

The noise is in the weights, and no library is needed: any ONNX runtime runs `{model}`.

```python
import onnxruntime

session = onnxruntime.InferenceSession("{model}")
```

In C that is `CreateSession(env, "{model}", options, &session)`.
"""


def bundle_readme(plan: Plan, *, library: Path | None, genai: bool) -> str:
    """The text, in Markdown.

    Args:
        plan: The bundle's plan.
        library: The operator library in the bundle, relative to it; None for a baked bundle.
        genai: Whether the bundle has a configuration for onnxruntime-genai.
    """
    digital, analog, _ = plan.shares.percent()
    source = plan.source.get("hub", Path(plan.source["file"]).name)
    words = {
        "version": __version__,
        "title": f"Made of {source}" if source else "Made of a model in memory",
        "digital": digital,
        "analog": analog,
        "profile": plan.profile.name,
        "programming": plan.programming,
        "seed": plan.seed,
        "library": library.as_posix() if library is not None else "",
        "model": MODEL,
        "portable": PORTABLE_MODEL,
    }
    if library is None:
        parts = [HEAD, BAKED, *([GENAI.replace(" and library", "")] if genai else [])]
    else:
        parts = [HEAD, PYTHON, *([GENAI] if genai else []), WITHOUT]
    return "".join(part.format_map(words) for part in parts)
