"""Tokens by transformers, for a Python that has it: ``python hf_tokens.py FOLDER CLASS TEXTS IDS``.

Reads a tokenizer of a class of transformers from a folder, and JSON lists of texts; writes their
tokens. Imports nothing of this project: it runs in an environment of its own.
"""

import json
import sys
from pathlib import Path


def main(folder: str, name: str, texts: str, ids: str) -> None:
    """Tokenises all texts."""
    import transformers

    tokenizer = getattr(transformers, name).from_pretrained(folder)
    found = [tokenizer(text)["input_ids"] for text in json.loads(Path(texts).read_text())]
    Path(ids).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
