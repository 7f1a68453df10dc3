"""Threads of one process write in the order in which they ask."""

import threading
import time

import pytest

from retest.store.turns import Turns


def wait_until(condition):
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


def queue_up(turns, order, number):
    """A thread that notes its number when it has the lock; returns once it waits."""

    def enter():
        with turns:
            order.append(number)

    before = len(turns._waiting)
    thread = threading.Thread(target=enter)
    thread.start()
    wait_until(lambda: len(turns._waiting) > before)
    return thread


def test_whoever_asks_first_comes_first():
    turns, order = Turns(), []
    with turns:
        threads = [queue_up(turns, order, number) for number in range(8)]
        assert order == []
    for thread in threads:
        thread.join(20)
    assert order == list(range(8))


def test_one_that_asks_again_at_once_waits_behind_the_others():
    turns, order = Turns(), []
    with turns:
        thread = queue_up(turns, order, "waited")
    with turns:  # with threading.Lock this one would mostly overtake
        order.append("again")
    thread.join(20)
    assert order == ["waited", "again"]


def test_never_two_at_once():
    turns, inside, most = Turns(), [], []

    def work():
        for _ in range(200):
            with turns:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(most) == 1200
    assert set(most) == {1}


def test_an_error_hands_the_lock_on_and_a_second_try_of_the_same_thread_is_a_mistake():
    turns = Turns()
    with pytest.raises(KeyError), turns:
        raise KeyError
    with turns, pytest.raises(RuntimeError, match="within another"):
        turns.__enter__()
    with turns:
        pass


def test_one_that_gives_up_waiting_is_not_handed_the_lock(monkeypatch):
    turns, order = Turns(), []
    turns.__enter__()
    gave_up = threading.Event()

    class Interrupted:
        def __init__(self):
            self.first = True

        def acquire(self):
            if not self.first:  # as Ctrl+C while it waits
                gave_up.set()
                raise KeyboardInterrupt
            self.first = False

        def release(self):
            pass

    def enter():
        with pytest.raises(KeyboardInterrupt):
            turns.__enter__()

    with monkeypatch.context() as patch:
        patch.setattr("retest.store.turns._Gate", Interrupted)
        impatient = threading.Thread(target=enter)
        impatient.start()
        assert gave_up.wait(20)
        impatient.join(20)
    thread = queue_up(turns, order, 1)
    turns.__exit__()
    thread.join(20)
    assert order == [1]


def test_transactions_of_threads_take_turns_and_kept_connections_see_each_others_writes(database):
    database.keep_connections(2)
    numbers = []

    def add():
        for _ in range(10):
            with database.write() as tables:
                known = tables.settings.get("n") or 0
                tables.settings.put("n", known + 1)
                numbers.append(known)

    threads = [threading.Thread(target=add) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert numbers == list(range(50))
    with database.read() as tables:
        assert tables.settings.get("n") == 50


def test_a_transaction_that_fails_leaves_nothing_in_a_kept_connection(database):
    database.keep_connections(1)

    def fail():
        with database.write() as tables:
            tables.settings.put("n", 1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    for _ in range(3):
        with database.read() as tables:
            assert tables.settings.get("n") is None
    with database.write() as tables:
        tables.settings.put("n", 2)
    with database.read() as tables:
        assert tables.settings.get("n") == 2
