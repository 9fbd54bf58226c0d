"""Suites: what a person writes, read with all its mistakes at once. `grammar` holds the models of its parts."""

from harness.suite.grammar import Suite
from harness.suite.loading import LoadedSuite, builtin_suites, load_suite
from harness.suite.sweeps import expand_sweeps
from harness.suite.template import render_prompt

__all__ = ["LoadedSuite", "Suite", "builtin_suites", "expand_sweeps", "load_suite", "render_prompt"]
