"""Parents from WordNet's file, written here by the rules of wndb(5WN)."""

from __future__ import annotations

from pathlib import Path

import pytest

from retest.errors import InputError
from retest.records import ClassInfo
from retest.sources import SearchParameters, class_terms, with_parents

HEADER = "  1 This software and database is being provided to you, the LICENSEE, by  \n"
SYNSETS = {  # words -> (pointer, words of the other synset), gloss
    "entity": ([], "that which is perceived"),
    "cyprinid|cyprinid_fish": ([("@", "entity"), ("~", "tench|Tinca_tinca")], "soft-finned fish"),
    "food_fish": ([("@", "entity")], "any fish used for food"),
    "tench|Tinca_tinca": ([("#m", "entity"), ("@", "cyprinid|cyprinid_fish"), ("@", "food_fish")], "freshwater dace-like game fish | odd"),
    "Rex": ([("@i", "tench|Tinca_tinca")], "a tench of that name"),
}


def write_wordnet(folder: Path) -> dict[str, str]:
    """Write data.noun; words -> wnid."""

    def lines(offsets: dict[str, int]) -> list[str]:
        result = []
        for words, (pointers, gloss) in SYNSETS.items():
            names = words.split("|")
            listed = " ".join(f"{name} 0" for name in names)
            others = "".join(f" {symbol} {offsets.get(other, 0):08d} n 0000" for symbol, other in pointers)
            result.append(f"{offsets.get(words, 0):08d} 05 n {len(names):02x} {listed} {len(pointers):03d}{others} | {gloss}  \n")
        return result

    place, offsets = len(HEADER), {}
    for words, line in zip(SYNSETS, lines({}), strict=True):
        offsets[words] = place
        place += len(line)
    folder.mkdir()
    (folder / "data.noun").write_text(HEADER + "".join(lines(offsets)))
    return {words: f"n{offset:08d}" for words, offset in offsets.items()}


def test_parents_are_the_words_of_the_first_hypernym(tmp_path: Path) -> None:
    wnids = write_wordnet(tmp_path / "dict")
    tench = ClassInfo(wnids["tench|Tinca_tinca"], 0, ("tench", "Tinca tinca"))
    others = [ClassInfo(wnids["Rex"], 1, ("Rex",)), ClassInfo(wnids["entity"], 2, ("entity",)), ClassInfo("cat", 3, ("cat",))]
    given = ClassInfo("n99999999", 4, ("own",), parent_terms=("mine",))
    for path in (tmp_path / "dict", tmp_path / "dict/data.noun"):
        found = with_parents([tench, *others, given], path)
        assert [info.parent_terms for info in found] == [("cyprinid", "cyprinid fish"), ("tench", "Tinca tinca"), (), (), ("mine",)]
        assert found[-1] == given
    assert class_terms(found[0], parameters=SearchParameters(parent_term=True)) == ("tench cyprinid", "Tinca tinca cyprinid")


@pytest.mark.parametrize("wnid", ["n00000003", "n09999999"])
def test_a_synset_that_is_not_there_is_named_with_the_remedy(tmp_path: Path, wnid: str) -> None:
    write_wordnet(tmp_path / "dict")
    with pytest.raises(InputError, match=f"which {wnid} needs") as caught:
        with_parents([ClassInfo(wnid, 0, ("x",))], tmp_path / "dict")
    assert "WordNet 3.0" in str(caught.value.remedy)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        with_parents([ClassInfo("n00000003", 0)], tmp_path / "nothing")
