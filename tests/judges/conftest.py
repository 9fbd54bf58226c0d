"""Scripted models: each answers from a table or a rule, so that a judge's arithmetic can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest


class TableClassifier:
    """An NLI model that looks its probabilities up; unknown pairs are neutral. One word is one token."""

    def __init__(self, table, labels=("entailment", "neutral", "contradiction"), max_tokens=64):
        self.table, self.labels, self.max_tokens, self.asked = table, labels, max_tokens, []
        self.key = "table"

    def probabilities(self, pairs):
        self.asked += pairs
        for premise, hypothesis in pairs:
            if sum(self.count_tokens([premise, hypothesis])) + 3 > self.max_tokens:
                raise ValueError("pair too long")
        return [self._row(pair) for pair in pairs]

    def _row(self, pair):
        for (premise, hypothesis), row in self.table.items():
            if premise in pair[0] and hypothesis == pair[1]:
                return row
        return (0.0, 1.0, 0.0)[: len(self.labels)]

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


class RuleClassifier:
    """A toxicity model: P(toxic) is 0.9 for texts with the word 'stupid', else 0.1."""

    labels = ("not_toxic", "toxic")
    independent = False
    max_tokens = 16
    key = "rule"

    def probabilities(self, texts):
        return [(0.1, 0.9) if "stupid" in text.lower() else (0.9, 0.1) for text in texts]

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


class WordPairs:
    """A relevance model: P(relevant) is the share of the question's words that the text has, within 0.02 and 0.98."""

    labels = ("not_relevant", "relevant")
    max_tokens = 64
    key = "pairs"

    def probabilities(self, pairs):
        return [(1 - self._share(*pair), self._share(*pair)) for pair in pairs]

    def _share(self, question, text):
        asked, said = ({word.strip(".,?!").lower() for word in side.split()} for side in (question, text))
        return min(0.98, max(0.02, len(asked & said) / len(asked)))

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


class WordEmbedder:
    """Bag-of-words vectors of length 1: the cosine is the share of common words."""

    key = "words"

    def embed(self, texts):
        vocabulary = {}
        rows = []
        for text in texts:
            words = [word.strip(".,?!").lower() for word in text.split()]
            rows.append([vocabulary.setdefault(word, len(vocabulary)) for word in words])
        vectors = np.zeros((len(texts), len(vocabulary) + 1), dtype=np.float32)
        for vector, row in zip(vectors, rows, strict=True):
            vector[row] = 1.0
            vector[-1] = 0.0 if row else 1.0
            vector /= np.linalg.norm(vector)
        return vectors


@pytest.fixture
def table_classifier():
    """The class, to be filled with a table."""
    return TableClassifier


@pytest.fixture
def rule_classifier():
    """A toxicity model made of one rule."""
    return RuleClassifier()


@pytest.fixture
def word_embedder():
    """Bag-of-words embeddings."""
    return WordEmbedder()


@pytest.fixture
def word_pairs():
    """A relevance model made of common words."""
    return WordPairs()
