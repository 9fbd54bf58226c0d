"""Models: causal language models and endpoints that answer, encoders that judge, and candidates made of them."""
