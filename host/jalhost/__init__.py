"""Brings up and drives the jalhost inference engine, on boards and in simulation."""
