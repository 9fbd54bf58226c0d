"""The store: results in DuckDB, one bundle a run in Parquet, and the journals of runs in progress."""

from harness.store.bundle import Bundle, read_bundle, write_bundle
from harness.store.doctor import Ailment, Rebuilt, doctor, drop_log, rebuild
from harness.store.home import Home
from harness.store.spool import Spool
from harness.store.store import Store

__all__ = [
    "Ailment",
    "Bundle",
    "Home",
    "Rebuilt",
    "Spool",
    "Store",
    "doctor",
    "drop_log",
    "read_bundle",
    "rebuild",
    "write_bundle",
]
