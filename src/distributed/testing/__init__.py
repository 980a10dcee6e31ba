"""Helpers for tests of distributed programs, and the simulated network that tests this package itself."""
