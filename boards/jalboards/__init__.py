"""The boards that the system can be built for."""
