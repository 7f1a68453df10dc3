"""A study's settings and its open folder."""

from retest.study.config import (
    CONFIG_FILE,
    BenchmarkSettings,
    SourceSettings,
    StudyConfig,
    StudySettings,
    format_config,
    parse_config,
    read_config,
)
from retest.study.folder import Study, create_study, open_study, remove_leftovers, write_atomic
from retest.study.serve import ServeSettings

__all__ = [
    "CONFIG_FILE",
    "BenchmarkSettings",
    "ServeSettings",
    "SourceSettings",
    "Study",
    "StudyConfig",
    "StudySettings",
    "create_study",
    "format_config",
    "open_study",
    "parse_config",
    "read_config",
    "remove_leftovers",
    "write_atomic",
]
