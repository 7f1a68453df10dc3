"""Values that are kept: computed once per key, and the dear ones beside the requests."""

import threading
import time

import pytest

from retest.stages import _review_memo
from retest.stages._review_memo import Memo, Recent


def test_a_value_is_computed_once_per_key():
    memo, computed = Memo(), []
    for key in (1, 1, 2, 2, 1):
        assert memo.get("name", key, lambda key=key: computed.append(key) or key * 10) == key * 10
    assert computed == [1, 2, 1]


def test_of_several_threads_one_computes_and_the_others_wait():
    memo, computed, go_on = Memo(), [], threading.Event()

    def compute():
        computed.append(1)
        go_on.wait(20)
        return "value"

    found = []
    threads = [threading.Thread(target=lambda: found.append(memo.get("name", 1, compute))) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert computed == [1]
    assert found == ["value"] * 5


def test_an_error_is_not_kept_and_lets_the_next_one_try():
    memo = Memo()
    with pytest.raises(KeyError):
        memo.get("name", 1, lambda: {}["nothing"])
    assert memo.get("name", 1, lambda: 7) == 7


def test_the_least_recently_used_go_first():
    memo, computed = Memo(most=2), []
    for name in ("a", "b", "a", "c", "a", "b"):
        memo.get(name, 1, lambda name=name: computed.append(name))
    assert computed == ["a", "b", "c", "b"]


def busy():
    """More processor time than a cheap value takes."""
    until = time.thread_time() + 2 * _review_memo.DEAR_S
    while time.thread_time() < until:
        pass


def test_a_cheap_value_is_always_that_of_the_present():
    jobs = []
    memo = Memo(later=lambda name, job: jobs.append(job))
    assert memo.recent("name", 1, lambda: (1, "one")) == Recent("one", True)
    assert memo.recent("name", 2, lambda: (2, "two")) == Recent("two", True)
    assert jobs == []


def test_a_dear_value_is_shown_as_it_was_until_it_is_computed_beside_the_requests():
    jobs = []
    memo = Memo(later=lambda name, job: jobs.append(job))

    def load(key):
        busy()
        return key, f"value {key}"

    assert memo.recent("name", 1, lambda: load(1)) == Recent("value 1", True)
    assert memo.recent("name", 2, lambda: load(2)) == Recent("value 1", False)
    assert len(jobs) == 1
    jobs[0]()
    assert memo.recent("name", 2, lambda: load(2)) == Recent("value 2", True)


def test_without_anybody_to_do_it_later_a_dear_value_is_computed_at_once():
    memo = Memo()
    assert memo.recent("name", 1, lambda: (busy(), (1, "one"))[1]).value == "one"
    assert memo.recent("name", 2, lambda: (2, "two")) == Recent("two", True)
