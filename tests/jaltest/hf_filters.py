"""Filters by transformers, for a Python that has it: ``python hf_filters.py CASES FOUND``.

Reads cases (.json: logits, text, filters), and writes for each the logits behind the penalty, and
which tokens the other filters then allow. Imports nothing of this project: it runs in an
environment of its own.
"""

import json
import sys
from pathlib import Path
from typing import Any


def find(case: dict[str, Any]) -> dict[str, Any]:
    """One case. Filters of the value None are left out, as generate() does."""
    import torch
    from transformers.generation import logits_process as hf

    scores = torch.tensor([case["logits"]], dtype=torch.float64)
    text = torch.tensor([case["text"]], dtype=torch.int64)
    penalised = hf.RepetitionPenaltyLogitsProcessor(case["repetition_penalty"])(text, scores)
    # From here on those of the project, which are rounded.
    scores = torch.tensor([case["rounded"]], dtype=torch.float64)
    chain = [hf.TemperatureLogitsWarper(case["temperature"])]
    if case["top_k"] is not None:
        chain.append(hf.TopKLogitsWarper(case["top_k"]))
    if case["top_p"] is not None and case["top_p"] < 1:
        chain.append(hf.TopPLogitsWarper(case["top_p"]))
    if case["min_p"] is not None:
        chain.append(hf.MinPLogitsWarper(case["min_p"]))
    for warper in chain:
        scores = warper(text, scores)
    return {"penalised": penalised[0].tolist(), "allowed": torch.isfinite(scores)[0].tolist()}


def main(cases: str, found: str) -> None:
    """Goes through all cases."""
    results = [find(case) for case in json.loads(Path(cases).read_text())]
    Path(found).write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
