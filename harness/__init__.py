"""muster: train candidates, let them answer, judge the answers, and decide whether the new model may be deployed."""

__version__ = "0.1.0"
