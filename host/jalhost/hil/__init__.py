"""Tests of hardware: a pytest plugin, and what connects it to farms of boards."""
