"""`muster schema`: the JSON Schema of a suite file, for editors."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON Schema of a suite file (draft 2020-12)."""
    import json

    from harness.suite.schema import json_schema

    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
