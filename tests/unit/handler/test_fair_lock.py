"""Who has the model next."""

from __future__ import annotations

import time
from threading import Thread

from handler.chat.fair_lock import FairLock


def test_it_goes_to_the_one_that_came_first() -> None:
    """Whoever began to wait for it first, and whoever asks for it just then."""
    lock, order = FairLock(), list[float]()
    assert lock.acquire(0.0)

    def have_it(came_s: float) -> None:
        assert lock.acquire(came_s, 60)
        order.append(came_s)
        lock.release()

    threads = [Thread(target=have_it, args=(came_s,)) for came_s in (3.0, 1.0, 2.0)]
    for at, thread in enumerate(threads):
        thread.start()
        while len(lock._waiting) <= at:
            time.sleep(0.001)
    lock.release()
    assert lock.acquire(4.0, 60)
    for thread in threads:
        thread.join()
    assert order == [1.0, 2.0, 3.0]


def test_it_is_not_waited_for_longer_than_that() -> None:
    """What is held stays held, and whoever has gone is in nobody's way."""
    lock = FairLock()
    assert lock.acquire(1.0)
    assert not lock.acquire(0.0)
    assert not lock.acquire(0.0, 0.01)
    lock.release()
    assert lock.acquire(2.0)


def test_any_thread_may_release_it() -> None:
    """A stream is begun by one thread and may be closed by another."""
    lock = FairLock()
    assert lock.acquire(0.0)
    thread = Thread(target=lock.release)
    thread.start()
    thread.join()
    assert lock.acquire(0.0)
