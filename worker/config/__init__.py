"""Settings from environment variables: read once, checked together, masked when shown.

`read` gives the settings of a command or raises SettingsError with all problems; `SETTINGS` is the table of them.
"""

from worker.config.masking import masked
from worker.config.parsers import Address, Patterns, PostgresUrl, Sources, SqliteUrl, Tables
from worker.config.reading import Effective, Examination, SettingsError, examine, read
from worker.config.settings import Secret, Settings
from worker.config.table import NEEDS, PREFIXES, SETTINGS, Group, Setting

__all__ = [
    "NEEDS",
    "PREFIXES",
    "SETTINGS",
    "Address",
    "Effective",
    "Examination",
    "Group",
    "Patterns",
    "PostgresUrl",
    "Secret",
    "Setting",
    "Settings",
    "SettingsError",
    "Sources",
    "SqliteUrl",
    "Tables",
    "examine",
    "masked",
    "read",
]
