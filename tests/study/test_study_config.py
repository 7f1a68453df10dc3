"""``study.toml``: what is written is read back the same, and every mistake is named with file, section and key."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retest.errors import ConfigError
from retest.study import StudyConfig, StudySettings, format_config, parse_config, read_config
from retest.study.config import setting_fields, settings_reference

SECTIONS = {f.name: get_type_hints(StudyConfig)[f.name] for f in dataclasses.fields(StudyConfig)}
SETTINGS = [(section, f.name) for section, kind in SECTIONS.items() for f in setting_fields(kind)]
ROOT = Path(__file__).parents[2]

# ------------------------------------------------------------------------------------------------------------ round trips

VALUES: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, 100) | st.sampled_from([500, 3600, 259_200]),
    float: st.floats(0, 1) | st.sampled_from([0.1 + 0.2, 1e-300, 1e100, 120.0, math.inf]),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(["l2", "sqlite:///x.db", "a\"b\\c\n\t'#", "é\x7f\x01"]),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    if hint in VALUES:
        return VALUES[hint]
    arguments = get_args(hint)
    if type(None) in arguments:
        return st.none() | values_of(next(argument for argument in arguments if argument is not type(None)))
    if getattr(hint, "__origin__", None) is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    return st.dictionaries(VALUES[str], values_of(arguments[1]), max_size=3)


@st.composite
def configs(draw: st.DrawFn) -> StudyConfig:
    """A configuration in which any settings have any values that their sections allow."""
    config = StudyConfig()
    for section, name in draw(st.lists(st.sampled_from(SETTINGS), max_size=12, unique=True)):
        value = draw(values_of(get_type_hints(SECTIONS[section])[name]))
        try:
            values = dataclasses.replace(getattr(config, section), **{name: value})
            config = dataclasses.replace(config, **{section: values})
        except ConfigError:
            continue
    return config


@settings(max_examples=300, deadline=None)
@given(configs())
def test_what_is_written_is_read_back(config: StudyConfig):
    assert parse_config(tomllib.loads(format_config(config))) == config


def test_the_defaults_are_all_commented_out_and_the_rest_is_not():
    text = format_config(StudyConfig())
    tables = tomllib.loads(text)
    assert tables == {section: {} for section in SECTIONS}
    assert parse_config(tables) == StudyConfig() == parse_config({})
    for section, name in SETTINGS:
        assert f"# {name} =" in text, (section, name)
    changed = dataclasses.replace(StudyConfig(), study=StudySettings(name="other"))
    assert tomllib.loads(format_config(changed))["study"] == {"name": "other"}


def test_uncommenting_a_default_changes_nothing():
    lines = [line.removeprefix("# ") if " = " in line else line for line in format_config(StudyConfig()).splitlines()]
    kept = [line for line in lines if not line.startswith("#")]
    assert len(tomllib.loads("\n".join(kept))["sampling"]) > 5
    assert parse_config(tomllib.loads("\n".join(kept))) == StudyConfig()


@pytest.mark.parametrize(("section", "name"), SETTINGS)
def test_every_setting_has_a_default_and_one_line_of_help(section: str, name: str):
    (setting,) = [f for f in dataclasses.fields(SECTIONS[section]) if f.name == name]
    assert setting.default is not dataclasses.MISSING or setting.default_factory is not dataclasses.MISSING
    text = setting.metadata.get("help", "")
    assert len(text) > 5
    assert "\n" not in text
    # An unset value is written as a comment, so it must be the default.
    if type(None) in get_args(get_type_hints(SECTIONS[section])[name]):
        assert setting.default is None


def test_every_section_says_what_it_is():
    assert all((kind.__doc__ or "").strip().splitlines()[0].endswith(".") for kind in SECTIONS.values())


# --------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("text", "item", "problem", "remedy"),
    [
        ("[sampeling]\n", "study.toml", "unknown section 'sampeling'", "Did you mean 'sampling'?"),
        ("[zzz]\n", "study.toml", "unknown section 'zzz'", "Known: benchmark, "),
        ("name = 'x'\n", "study.toml", "unknown section 'name'", "Known: benchmark"),
        ("[sampling]\nper_clas = 5\n", "study.toml [sampling]", "unknown setting 'per_clas'", "Did you mean 'per_class'?"),
        ("[sampling]\nzzz = 5\n", "study.toml [sampling]", "unknown setting 'zzz'", "Known: "),
        ("sampling = 5\n", "study.toml [sampling]", "must be a table of settings", "Write [sampling] on a line of its own"),
        ("[sampling]\nper_class = 'ten'\n", "study.toml [sampling] per_class", "valid integer (is 'ten')", "images per class"),
        ("[sampling]\nper_class = '10'\n", "study.toml [sampling] per_class", "valid integer (is '10')", "images per class"),
        ("[sampling]\nper_class = true\n", "study.toml [sampling] per_class", "valid integer (is True)", "images per class"),
        ("[sampling]\nper_class = 10.0\n", "study.toml [sampling] per_class", "valid integer (is 10.0)", "images per class"),
        ("[sampling]\nper_class = 0\n", "study.toml [sampling] per_class", "at least 1, not 0", "Correct the setting"),
        ("[sampling]\nthreshold = 1.5\n", "study.toml [sampling] threshold", "from 0 to 1, not 1.5", "Correct the setting"),
        ("[sampling]\nhistogram_edges = [0.5, 0.2]\n", "study.toml [sampling] histogram_edges", "ascending", "0.2, 0.4"),
        ("[sampling]\nhistogram_edges = 0.5\n", "study.toml [sampling] histogram_edges", "valid array", "inner edges"),
        ("[sampling]\nhistogram_edges = [0.5, 'x']\n", "study.toml [sampling] histogram_edges.1", "valid number (is 'x')", "inner edges"),
        ("[review.targets]\nl2 = 'far'\n", "study.toml [review] targets.l2", "valid number (is 'far')", "distance per metric"),
        ("[neighbors]\nssim_window = 4\n", "study.toml [neighbors] ssim_window", "not an odd number", "35"),
        ("[study]\nname = ''\n", "study.toml [study] name", "no usable name", "letters"),
        ("[study]\nname = 7\n", "study.toml [study] name", "valid string (is 7)", "name of the study"),
        ("[study]\nworkers = 0\n", "study.toml [study] workers", "at least 1", "number of cores"),
        ("[source]\nkind = 'ftp'\n", "study.toml [source] kind", "not 'ftp'", "Correct the setting"),
        ("[benchmark]\nids = 'x'\n", "study.toml [benchmark] ids", "must be one of path, name, not 'x'", "Correct the setting"),
        ("[images]\njpeg_quality = 96\n", "study.toml [images] jpeg_quality", "not an integer from 1 to 95", "Set jpeg_quality"),
        ("[labeling]\nskip_search_keys = 'fish'\n", "study.toml [labeling] skip_search_keys", "valid array", "search terms"),
        ("[resolution]\nfallback_class_threshold = 0.9\n", "study.toml [resolution] fallback_class_threshold", "lies above", "or less"),
    ],
)
def test_a_mistake_names_file_section_and_key(text: str, item: str, problem: str, remedy: str, tmp_path: Path):
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path / "study.toml")
    assert caught.value.item == str(tmp_path / item)
    assert problem in caught.value.problem
    assert remedy in str(caught.value.remedy)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("section", "name"), SETTINGS)
def test_no_setting_takes_a_value_of_another_kind(section: str, name: str):
    """A table within a table within a list is nobody's value: every setting refuses it and names itself."""
    with pytest.raises(ConfigError) as caught:
        parse_config({section: {name: [{"no": {"such": "value"}}]}})
    assert str(caught.value.item).startswith(f"study.toml [{section}] {name}")
    assert caught.value.remedy


def test_a_derived_parameter_is_no_setting():
    derived = [(s, f.name) for s, kind in SECTIONS.items() for f in dataclasses.fields(kind) if "derived_from" in f.metadata]
    for section, name in derived:
        with pytest.raises(ConfigError, match=f"unknown setting {name!r}"):
            parse_config({section: {name: 1}})


def test_a_date_may_be_written_as_toml_date():
    assert parse_config(tomllib.loads("[study]\nname = 2012-07-11\n")).study.name == "2012-07-11"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"[study\n", r"not valid TOML .*line 1"),
        (b"[study]\nname = 'a'\nname = 'b'\n", r"not valid TOML .*line 3"),
        (b"[study]\nname = '\xff'\n", "not valid TOML"),
    ],
)
def test_a_damaged_file(data: bytes, problem: str, tmp_path: Path):
    (tmp_path / "study.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=problem) as caught:
        read_config(tmp_path / "study.toml")
    assert caught.value.item == str(tmp_path / "study.toml")


def test_an_absent_or_unreadable_file(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no such file.*retest init"):
        read_config(tmp_path / "study.toml")
    (tmp_path / "study.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "study.toml")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path):
    (tmp_path / "study.toml").write_bytes(b"\xef\xbb\xbf[study]\nname = 'x'\n")
    assert read_config(tmp_path / "study.toml").study.name == "x"


# ----------------------------------------------------------------------------------------------------------- documentation


def test_the_reference_names_every_setting_with_its_default():
    text = settings_reference()
    for section, name in SETTINGS:
        part = text.split(f"## [{section}]")[1].split("\n## ")[0]
        assert f"| `{name}` |" in part, (section, name)
    assert "| `per_class` | `10` | images per class |" in text
    assert all(line.count(" | ") == 2 for line in text.splitlines() if line.startswith("| `"))


def test_the_document_is_the_reference():
    path = ROOT / "docs/settings.md"
    if not path.exists():
        pytest.skip("docs/settings.md is not written yet")
    assert path.read_text(encoding="utf-8") == settings_reference(), "Run: make docs"


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("database", "postgresql+psycopg://me:geh/e@im@db.example.org/mine"),
        ("database", "postgresql+psycopg:///mine?user=me&password=geheim"),
        ("blobs", "s3://AKIA:geheim@bucket/prefix"),
    ],
)
def test_a_password_in_an_address_is_refused_and_not_shown(name: str, address: str):
    with pytest.raises(ConfigError, match=f"{name}: the address holds a password") as caught:
        StudySettings(**{name: address})
    assert "geh" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("database", "postgresql+psycopg://me@[::1]:5432/mine?host=/tmp"),
        ("database", "sqlite:///C:/users/x@y/study.db"),
        ("blobs", "s3://bucket/a:b@c"),
        ("blobs", "C:/images@home"),
    ],
)
def test_an_address_without_a_password_is_none_with_one(name: str, address: str):
    assert getattr(StudySettings(**{name: address}), name) == address
