# ruff: noqa: F401 - imported to be there
"""Imported by the server of `tests/processes.py` before its first fork: what most commands import, and what libraries
work out once."""

import gc

import peft.utils.transformers_weight_conversion
import sklearn.feature_extraction.text
import sklearn.linear_model
import transformers.models.bert.modeling_bert
import transformers.models.llama.modeling_llama
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import harness.models.endpoint
import harness.models.load
import harness.running.examining
import harness.training.judge_adapters
import harness.training.trainer
import judges.relevancy
import reports.render
from harness.cli import build_app

build_app()
get_checkpoint_conversion_mapping("llama")
gc.collect()
gc.freeze()  # a fork need not look through what the libraries hold
