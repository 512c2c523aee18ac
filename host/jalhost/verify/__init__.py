"""Finding what is wrong with a target: comparison with the golden model, and long tests."""
