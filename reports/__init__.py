"""The report: one HTML file on a stored run. Reads the store and what `harness.deciding` computes; knows no model."""
