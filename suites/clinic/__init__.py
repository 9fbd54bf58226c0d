"""The embedded demonstration suite: a knowledge table, its dialogues, and the small base model they are asked of."""
