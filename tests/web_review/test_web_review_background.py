"""Work beside the requests: once at a time, pausing between its steps, resting after its end, alive after a bug."""

import threading

import pytest

from retest.errors import StoreError
from retest.web.review.background import Background, Repeated


@pytest.fixture
def background():
    made = Background(pause=0.0, rest=0.0)
    yield made
    made.stop()


def finished(background):
    done = threading.Event()
    background.start(lambda stop: done.set(), name=object())
    assert done.wait(20)


def test_work_that_waits_or_runs_is_not_taken_twice_and_other_work_is(background):
    runs, begun, go_on = [], threading.Event(), threading.Event()

    def work(stop):
        runs.append(1)
        begun.set()
        go_on.wait(20)

    background.start(work, name="one")
    assert begun.wait(20)
    assert background.running
    background.start(work, name="one")
    background.start(lambda stop: runs.append(2), name="two")
    background.start(lambda stop: runs.append(3), name="two")
    go_on.set()
    finished(background)
    assert runs == [1, 2]
    background.start(work, name="one")
    finished(background)
    assert runs == [1, 2, 1]


def test_what_took_long_rests_long_and_others_need_not_wait():
    clock = [0.0]
    background = Background(pause=0.0, rest=9.0, now=lambda: clock[0])
    runs = []

    def work(stop):
        runs.append(clock[0])
        clock[0] += 2.0

    background.start(work, name="dear")
    finished(background)
    background.start(work, name="dear")
    finished(background)  # comes before it
    assert runs == [0.0]
    assert background.running
    clock[0] = 20.0  # 2 seconds of work and 18 of rest
    finished(background)
    finished(background)
    assert runs == [0.0, 20.0]
    background.stop()


def test_between_its_steps_work_pauses_in_proportion_and_hears_of_the_end():
    clock, paused, heard = [0.0], [], []
    background = Background(pause=3.0, rest=0.0, now=lambda: clock[0])
    background._stopping.wait = lambda seconds: paused.append(seconds) or background._stopping.is_set()

    def work(stop):
        for seconds in (0.5, 0.1):
            clock[0] += seconds
            heard.append(stop())

    background.start(work, name="steps")
    finished(background)
    assert paused == pytest.approx([1.0, 0.3])  # a second at most
    assert heard == [False, False]
    background.stop()


def test_an_error_or_a_bug_ends_the_work_alone(background, caplog, monkeypatch):
    def fail(stop):
        raise StoreError("the disk is full")

    def bug(stop):
        raise KeyError("bug")

    seen = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.set())
    background.start(fail, name="fails")
    finished(background)
    assert "the disk is full" in caplog.text
    background.start(bug, name="bug")
    assert seen.wait(20)
    background._thread.join(20)
    finished(background)


def test_after_the_end_nothing_begins_and_what_waits_is_forgotten():
    background = Background(pause=0.0, rest=0.0)
    begun, ran = threading.Event(), []

    def work(stop):
        begun.set()
        while not stop():
            pass

    background.start(work, name="long")
    assert begun.wait(20)
    background.start(lambda stop: ran.append(1), name="waits")
    background.stop()
    background.start(lambda stop: ran.append(2), name="late")
    assert not background.running
    assert ran == []


def test_what_is_repeated_ends_when_it_says_so_or_when_it_is_stopped():
    runs, twice = [], threading.Event()

    def work(stop):
        runs.append(stop())
        if len(runs) == 2:
            twice.set()
        return True

    repeated = Repeated(work, pause_s=0.0)
    assert twice.wait(20)
    repeated.stop()
    seen = len(runs)
    assert runs[:2] == [False, False]
    once = Repeated(lambda stop: bool(runs.append("last")), pause_s=0.0)
    once.stop()
    assert runs[seen:] == ["last"]
