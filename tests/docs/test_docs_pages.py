"""Every page of the documentation is run: each command, each block of code, and what it prints. What cannot run here says why."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from doc_runner import ROOT, SHOWN, Page, PageError, blocks, check_words, commands, split
from doc_workplaces import WORKPLACES, workplace

DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).with_suffix("").as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
PAGES |= {path.stem: path for path in sorted(ROOT.glob("*.md"))}
IN_ONE_PROCESS = {"data": "demo", "howto/report": "demo"}


def _case(name: str):
    marks = [pytest.mark.xdist_group(IN_ONE_PROCESS[name])] if name in IN_ONE_PROCESS else []
    return pytest.param(name, id=name, marks=marks)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_blocks() -> list[str]:
    return [name for name, path in PAGES.items() if blocks(path.read_text(encoding="utf-8"))]


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("name", [_case(name) for name in with_blocks()])
def test_a_page_tells_the_truth(name, folder, request, capsys):
    found = blocks(PAGES[name].read_text(encoding="utf-8"))
    with workplace(name, folder, request) as told:
        page = Page(PAGES[name], **told)
        page.run()
    languages = Counter(block.language for block in found)
    run = {language: page.ran[language] for language in languages}
    assert sum(run.values()) + len(page.left_out) == len(found)
    after = AFTER.get(name)
    if after is not None:
        after(folder, page, capsys.readouterr().out)


def _tutorial(folder, page, _said):
    assert page.ran["retest label"] == 4
    assert "SIMULATED" in (folder / "report.html").read_text(encoding="utf-8")
    assert len(list((folder / "my-b-1").rglob("*.jpg"))) == 40


def _cifar(folder, page, _said):
    assert page.ran["retest label"] == 8
    assert (folder / "digits.html").stat().st_size > 10_000


def _collecting(_folder, _page, said):
    for words in ("n01440764/0.jpg", "['https://example.org/1.jpg']", "tench 10 {} ()", "1 not_found", "html - photo 17: an HTML page"):
        assert words in said


def _evaluating(folder, page, _said):
    assert page.ran["retest evaluate"] == 4
    files = {path.stem for path in (folder / "predictions" / "photos").glob("*.parquet")}
    assert files == {"mine", "checkpoint", "our-net", "test_vit%40random", "test_efficientnet%40random"}


def _near_duplicates(folder, _page, _said):
    assert "data:image/jpeg" in (folder / "leakage.html").read_text(encoding="utf-8")


def _labelling(_folder, page, said):
    assert page.ran["retest label"] >= 18
    assert said.count("Assignable") == 4


AFTER = {
    "cifar": _cifar,
    "collecting": _collecting,
    "evaluating": _evaluating,
    "labelling": _labelling,
    "near-duplicates": _near_duplicates,
    "tutorial": _tutorial,
}


@pytest.mark.parametrize("name", PAGES)
def test_no_block_escapes(name):
    """Fences are counted without the runner's own pattern; a command outside of a block that is run would show in a ``text`` block."""
    text = PAGES[name].read_text(encoding="utf-8")
    fences = re.findall(r"^\s*(```+|~~~+)\{?", text, re.MULTILINE)
    directives = re.findall(r"^\s*```\{", text, re.MULTILINE)
    assert set(fences) <= {"```"}
    assert len(fences) == 2 * (len(blocks(text)) + len(directives))
    shown = "\n".join(block.content for block in blocks(text) if block.language in SHOWN)
    assert re.findall(r"^(?:\$ |retest ).*", shown, re.MULTILINE) == []
    assert len(re.findall(r"^\s*<!--\s*not run:", text, re.MULTILINE)) == sum(marked(text))
    assert re.findall(r"^<(?:pre|code)\b|^( {4}|\t)(?:\$ |retest )", text, re.MULTILINE) == []


def marked(text: str) -> list[bool]:
    return [block.reason is not None and not block.reason.startswith("not installed") for block in blocks(text)]


def test_most_of_the_documentation_runs():
    """What is marked as not run stays the exception, and every workplace belongs to a page."""
    markers = [mark for path in PAGES.values() for mark in marked(path.read_text(encoding="utf-8"))]
    assert sum(markers) < 0.15 * len(markers)
    assert WORKPLACES.keys() <= PAGES.keys()


def test_commands_named_in_running_text_exist():
    """``retest ...`` in backquotes names a command that is there, with options that it has."""
    wrong = []
    for name, path in PAGES.items():
        text = re.sub(r"^\s*```.*?^\s*```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for quoted in re.findall(r"`(retest [a-z][^`]*)`", text):
            problem = _named(quoted)
            if problem:
                wrong.append((name, quoted, problem))
    assert wrong == []


def _named(quoted: str) -> str | None:
    """Walk as far as the words are commands; options must be options of where that leads."""
    import click

    from retest.cli import cli

    _, words = split(" ".join(quoted.split()))
    command: click.Command = cli
    context = click.Context(cli)
    for number, word in enumerate(words[1:]):
        if word.startswith("-") or not isinstance(command, click.Group):
            break
        choices = [command.get_command(context, part) for part in re.split(r"[|,]", word) if part]
        if None in choices:
            return None if number and not word.islower() else f"{word} is no command"
        command = choices[0]
    known = {option for parameter in command.get_params(context) for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    return next((f"{word} is no option" for word in words[1:] if word.startswith("--") and word.partition("=")[0] not in known), None)


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ("```console\n$ retest --version\nretest, version 99\n```\n", "the command prints"),
        ("```console\n$ retest nothing\n```\n", "ended with 2"),
        ("```console\n$ make nothing\n```\n", "no target"),
        ("```console\n$ rm -r x\n```\n", "not run by any test"),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "Expected"),
        ("```ruby\nputs 1\n```\n", "neither run nor known"),
        ("```\nputs 1\n```\n", "neither run nor known"),
        ("<!-- not run: a reason -->\n```console\n$ retest nothing\n```\n", "no such command"),
        ("<!-- not run: a reason -->\n```console\n$ retest label submit --crowd nobody --study s\n```\n", "nobody"),
        ("<!-- not run: a reason -->\n```console\n$ retest label submit\n```\n", "--study"),
        ("<!-- not run: a reason -->\n```console\n$ retest label submit --study s --price 3\n```\n", "--price"),
        ("<!-- not run: a reason -->\n\n```console\n$ rm -r x\n```\n", "unknown program"),
        ("<!-- not run: a reason -->\n```ruby\nputs 1\n```\n", "neither run nor known"),
    ],
    ids=range(13),
)
def test_a_lie_on_a_page_would_be_seen(lie, message, folder):
    page = folder / "page.md"
    page.write_text(lie)
    with pytest.raises(PageError, match=message):
        Page(page).run()


def test_a_wrong_block_is_seen_although_it_does_not_run(folder):
    page = folder / "page.md"
    page.write_text("<!-- not run: a reason -->\n```python\nx = = 1\n```\n")
    with pytest.raises(SyntaxError):
        Page(page).run()
    page.write_text("<!-- not run: because\nof this -->\n```python\n1 / 0\n```\ntext\n```python\nx = 1\n```\n")
    run = Page(page)
    run.run()
    assert (run.left_out, run.ran["python"]) == (["because of this"], 1)


def test_a_block_that_needs_a_package_is_left_out_without_it(folder):
    page = folder / "page.md"
    page.write_text("<!-- needs: surely_not_installed -->\n```python\n1 / 0\n```\n<!-- needs: json -->\n```python\nx = 1\n```\n")
    run = Page(page)
    run.run()
    assert (run.left_out, run.ran["python"]) == (["not installed: surely_not_installed"], 1)


def test_commands_with_assignments_comments_and_continuations():
    assert split("KEY=... retest publish --retire 1   # later") == ({"KEY": "..."}, ["retest", "publish", "--retire", "1"])
    assert commands("$ retest a \\\n    --b\nsaid\n") == [("retest a  --b", "said\n")]
    check_words(["retest", "label", "submit", "--study", "s", "--crowd", "server"], "page")
