"""Suites that ship with muster."""
