"""The demo model: a corpus of tales from a grammar, a tokenizer, a small Llama and its training."""
