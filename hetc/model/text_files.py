"""The files beside a model that turn text into tokens and back."""

__all__ = ["TEXT_FILES"]

TEXT_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
"""They are copied as they are, where a checkpoint or model has them."""
