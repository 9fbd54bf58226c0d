"""From stored scores to a decision: leaderboards, paired comparisons, the gate, and the surfaces a verdict is shown on.

Reads scores as rows of the store and knows no model: everything here runs years later, without torch.
"""
