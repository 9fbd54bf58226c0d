"""Plans a run, trains, answers and judges what is missing of it."""
