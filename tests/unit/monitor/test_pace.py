"""How often a watcher looks: within its share of a core, and never so late that it shows the past."""

from __future__ import annotations

import pytest

from glotune.monitor.view import LEAST, MOST, SHARE, Polling


class Machine:
    """A clock, and the processor time of a watcher."""

    def __init__(self) -> None:
        self.now = self.spent = 0.0
        self.pace = Polling(spent=lambda: self.spent, clock=lambda: self.now)

    def look(self, cost: float, changed: bool = True) -> float:
        """One look; the seconds until the next."""
        self.now += self.pace.wait
        self.spent += cost
        self.pace.looked(changed)
        return self.pace.wait


@pytest.mark.parametrize("cost", [0.001, 0.02, 0.045])
def test_looks_take_no_more_than_their_share(cost: float) -> None:
    machine = Machine()
    waits = [machine.look(cost) for _ in range(50)]
    assert machine.spent <= SHARE * (machine.now + waits[-1]) * 1.001
    assert all(LEAST <= wait <= MOST for wait in waits)


def test_a_costly_look_is_not_waited_for_longer_than_the_longest_pause() -> None:
    assert Machine().look(30.0) == MOST


def test_a_look_without_news_makes_the_next_pause_longer_and_news_make_it_short_again() -> None:
    machine = Machine()
    waits = [machine.look(0.0, changed=False) for _ in range(8)]
    assert waits == sorted(waits)
    assert waits[-1] == MOST
    assert machine.look(0.0) == LEAST


def test_the_start_is_not_charged_and_expiring_asks_at_once() -> None:
    machine = Machine()
    machine.spent = 5.0
    machine.pace.start()
    assert machine.look(0.001) == LEAST
    machine.pace.expire()
    assert machine.pace.wait == 0.0
