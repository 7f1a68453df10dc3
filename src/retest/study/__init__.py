"""A study's settings and its open folder."""

from retest.files import open_atomic, remove_leftovers, write_atomic
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
from retest.study.executor import ExecutorOptions, executor_slots, open_executor
from retest.study.folder import Study, create_study, open_study
from retest.study.serve import ServeSettings

__all__ = [
    "CONFIG_FILE",
    "BenchmarkSettings",
    "ExecutorOptions",
    "ServeSettings",
    "SourceSettings",
    "Study",
    "StudyConfig",
    "StudySettings",
    "create_study",
    "executor_slots",
    "format_config",
    "open_atomic",
    "open_executor",
    "open_study",
    "parse_config",
    "read_config",
    "remove_leftovers",
    "write_atomic",
]
