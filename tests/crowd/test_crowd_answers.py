"""Answers: from form fields to a QuestionFormAnswers document and back to images."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retest.crowd.answers import missing_images, read_answers, selected_images, write_answers
from retest.errors import CrowdError
from retest.testing.crowd import example_hit

names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8).filter(
    lambda name: name == name.strip() and not set(name) & {"\ufffe", "\uffff"}
)
values = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n"), max_size=30).filter(
    lambda value: not set(value) & {"\ufffe", "\uffff"}
)

# The form of Amazon's documentation of QuestionFormAnswers (older elements included).
DOCUMENTED = """<?xml version="1.0" encoding="UTF-8"?>
<QuestionFormAnswers xmlns="http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2005-10-01/QuestionFormAnswers.xsd">
  <Answer>
    <QuestionIdentifier>select-3</QuestionIdentifier>
    <FreeText>1</FreeText>
  </Answer>
  <Answer>
    <QuestionIdentifier>likes</QuestionIdentifier>
    <SelectionIdentifier>tea</SelectionIdentifier>
  </Answer>
</QuestionFormAnswers>"""


@given(st.dictionaries(names, values, max_size=8))
def test_fields_survive_the_document(fields):
    document = write_answers(fields.items())
    assert read_answers(document, item="A") == fields
    root = ElementTree.fromstring(document.encode())  # an independent reader
    assert [(answer[0].text, answer[1].text or "") for answer in root] == list(fields.items())


def test_the_documented_form_is_read():
    assert read_answers(DOCUMENTED, item="A") == {"select-3": "1", "likes": "tea"}


def test_repeated_fields_are_joined_as_mturk_does():
    assert read_answers(write_answers([("a", "1"), ("a", "2")]), item="A") == {"a": "1|2"}


def test_characters_that_xml_cannot_hold_are_replaced():
    assert read_answers(write_answers([("a", "x\x00\x1by\ufffe\ud800")]), item="A") == {"a": "x\ufffd\ufffdy\ufffd\ufffd"}


@given(st.sets(st.integers(0, 9)), st.permutations(range(10)))
def test_selected_images_follow_the_order_shown(chosen, order):
    hit = example_hit(1)
    fields = {f"select-{index}": "1" for index in order if index in chosen}
    assert selected_images(fields, hit, item="A") == tuple(hit.images_all[index] for index in sorted(chosen))


@pytest.mark.parametrize("name", ["select-10", "select--1", "select-", "select-01", "select-1.0", "select-٣", "select-9999999999"])
def test_images_that_the_hit_does_not_show_are_refused(name):
    with pytest.raises(CrowdError, match="A7: the answer selects"):
        selected_images({name: "1"}, example_hit(1), item="A7")


def test_an_answer_to_another_hit_is_refused():
    hit = example_hit(1)
    assert selected_images({"hit": hit.uuid, "shown": "10"}, hit, item="A7") == ()
    with pytest.raises(CrowdError, match="A7: the answer is for HIT"):
        selected_images({"hit": example_hit(2).uuid}, hit, item="A7")
    with pytest.raises(CrowdError, match="A7: the page showed '48' images, the HIT has 10"):
        selected_images({"shown": "48"}, hit, item="A7")


def test_missing_images_are_reported():
    hit = example_hit(1)
    assert missing_images({"missing": "3,0"}, hit) == (hit.images_all[0], hit.images_all[3])
    assert missing_images({"missing": ""}, hit) == missing_images({}, hit) == missing_images({"missing": "x,-1,99"}, hit) == ()


@pytest.mark.parametrize(
    "document",
    [
        "",
        "no XML",
        "<QuestionFormAnswers>",
        "<Other/>",
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><QuestionFormAnswers><Answer>&b;</Answer></QuestionFormAnswers>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><QuestionFormAnswers/>',
        "\ud800",
    ],
)
def test_documents_that_cannot_be_read_name_the_assignment(document):
    with pytest.raises(CrowdError) as caught:
        read_answers(document, item="A7")
    assert caught.value.item == "A7"
    assert caught.value.remedy
