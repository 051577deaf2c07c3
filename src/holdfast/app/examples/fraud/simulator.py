"""A small world of card payments in which some of the money is stolen.

It stands where a payment network would: it writes the transactions and the chargebacks that
`project.py` reads, so the example can be run, judged and repeated without anybody's real data.

    python simulator.py --days 60 --out events/

**The world.** Cards live in cities and spend by habit: how often, how much, at which hours, at a
few terminals near home and a few shops online, from one or two devices. Weeks and paydays have a
shape. People travel, replace their phones, borrow one, go on shopping sprees, buy a sofa: honest
behaviour that resembles fraud.

**The fraud.** Three scenarios, about one transaction in a hundred:

`card_testing`
    A stolen number is tried with a burst of tiny online payments from an unknown device within
    minutes; hours later it is cashed out with large ones.
`compromised_terminal`
    For days, a terminal charges copies of the cards that use it. Each payment looks ordinary and
    is only somewhat too high: the history of the terminal's chargebacks gives it away.
`account_takeover`
    A stranger logs in, mostly at night, from abroad, on a new device, and spends several times
    the card's habit over one to three days.

**The drift.** Prices creep up, more is bought online, card testing gives way to takeovers, and
thieves learn to appear in their victim's own country and to ask for less.

**Determinism.** All randomness is keyed by (seed, purpose, day), and is drawn as plain uniforms
only. The same seed and parameters give the same events, and days 0-60 followed by days 60-67 are
days 0-67 cut in two.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

FIRST_DAY = date(2026, 1, 5)  # day 0, a Monday
SCENARIOS = ("card_testing", "compromised_terminal", "account_takeover")
PLANTED_REASONS = (
    "negative_amount",
    "amount_over_bound",
    "missing_card_id",
    "unparsable_time",
    "zoneless_time",
    "too_many_decimals",
    "exact_duplicate",
    "conflicting_content",
)
LONGEST_DELAY_DAYS = 28  # no chargeback is reported later than this

DAY = 86_400_000_000  # microseconds
HOUR = DAY // 24
MINUTE = HOUR // 60
EPOCH_US = (FIRST_DAY - date(1970, 1, 1)).days * DAY

LONGEST_TRIP = 12  # days
LONGEST_EPISODE = 28  # days between the first and the last payment of one theft
BEFORE = 64  # days before day 0 that may be drawn, so that the world starts in full swing

# Each purpose has its own stream: a change to one leaves all the others as they were.
_HONEST = ("terminals", "cards", "devices", "travel", "spending", "sprees", "gaps", "reports")
PURPOSES = {name: code for code, name in enumerate((*_HONEST, *SCENARIOS, "planting"))}

HOME_COUNTRIES = ("PT", "ES", "FR", "IT", "DE")
HOME_WEIGHTS = (0.40, 0.25, 0.15, 0.10, 0.10)
AWAY_COUNTRIES = ("GB", "GR", "NL", "MA", "US", "BR")  # visited; nobody lives there
COUNTRIES = HOME_COUNTRIES + AWAY_COUNTRIES

# What is bought, as (share of terminals, typical price against the card's habit).
COUNTERS = ((0.34, 0.8), (0.22, 0.5), (0.16, 1.3), (0.16, 1.0), (0.08, 2.0), (0.04, 3.4))
SHOPS = ((0.30, 0.5), (0.30, 1.0), (0.25, 1.6), (0.15, 3.0))
FAVOURITE_SHARES = np.cumsum((0.36, 0.22, 0.16, 0.12, 0.08, 0.06))

WEEK = (0.93, 0.91, 0.95, 0.99, 1.12, 1.20, 0.90)
# The share of a day's payments in each hour (UTC), by kind of person; the last are night owls.
HOURS = np.array(
    (
        (1, 0, 0, 0, 1, 4, 14, 30, 34, 32, 34, 40, 44, 36, 30, 30, 32, 32, 26, 18, 10, 6, 3, 1),
        (2, 1, 0, 0, 0, 2, 6, 14, 22, 30, 36, 42, 46, 40, 34, 34, 38, 42, 42, 34, 24, 14, 8, 4),
        (5, 2, 1, 0, 0, 1, 3, 8, 12, 16, 22, 34, 40, 34, 28, 28, 34, 44, 52, 52, 44, 32, 20, 10),
        (26, 20, 14, 9, 5, 3, 3, 5, 8, 10, 14, 20, 24, 24, 22, 22, 26, 32, 38, 42, 44, 42, 38, 32),
    ),
    dtype=np.float64,
)
KINDS_OF_DAY = np.cumsum((0.27, 0.38, 0.27, 0.08))


# --- drawing ------------------------------------------------------------------------------------


def _draws(seed: int, purpose: str, day: int = 0) -> np.random.Generator:
    """Return the stream of one purpose on one day."""
    key = (PURPOSES[purpose], day + BEFORE)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


_PROBABILITY = np.concatenate(([0.0002], np.arange(1, 1024) / 1024, [0.9998]))
_QUANTILE = np.array([NormalDist().inv_cdf(float(p)) for p in _PROBABILITY])


def _normal(uniform: np.ndarray) -> np.ndarray:
    """Map uniforms to a normal distribution cut at 3.5 deviations."""
    return np.interp(uniform, _PROBABILITY, _QUANTILE)


def _poisson(uniform: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Map uniforms to Poisson counts of at most 40 by inversion."""
    probability = np.exp(-mean)
    below = probability.copy()
    count = np.zeros(len(uniform), dtype=np.int64)
    for k in range(1, 41):
        count += uniform > below
        probability = probability * mean / k
        below += probability
    return count


def _pick(uniform: np.ndarray, cumulative: np.ndarray) -> np.ndarray:
    """Map uniforms to indices by cumulative weights of any total."""
    index = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return np.minimum(index, len(cumulative) - 1)


def _between(uniform: np.ndarray, low: int, high: int) -> np.ndarray:
    """Map uniforms to integers in [low, high]."""
    return np.floor(low + uniform * (high - low + 1)).astype(np.int64)


def _cents(log_amount: np.ndarray, low: float = 0.5, high: float = 9_000.0) -> np.ndarray:
    """Round exp(log_amount) to cents within [low, high] currency units."""
    return np.floor(np.clip(np.exp(log_amount), low, high) * 100 + 0.5).astype(np.int64)


def _hour_table() -> np.ndarray:
    """Return cumulative shares (kind of person, weekend, hour edge)."""
    weekend = 0.5 * HOURS + 0.5 * np.roll(HOURS, 2, axis=1)  # people rise later
    shares = np.stack([HOURS, weekend], axis=1)
    edges = np.concatenate([np.zeros((len(HOURS), 2, 1)), np.cumsum(shares, axis=2)], axis=2)
    return edges / edges[:, :, -1:]


_HOUR_EDGES = _hour_table()


def _time_of_day(uniform: np.ndarray, kind: np.ndarray, *, weekend: bool) -> np.ndarray:
    """Map uniforms to microseconds after midnight."""
    hours = np.empty(len(uniform))
    for k in range(len(HOURS)):
        mine = kind == k
        hours[mine] = np.interp(uniform[mine], _HOUR_EDGES[k, int(weekend)], np.arange(25.0))
    return np.minimum((hours * HOUR).astype(np.int64), DAY - 1)


def _ramp(day: int) -> float:
    """Return how far the drift has come: 0 on day 0, a half on day 60, never 1."""
    return max(day, 0) / (max(day, 0) + 60)


def _inflation(day: int) -> float:
    """Return the logarithm of the price level."""
    return 0.0006 * min(day, 1000)


# --- who and where ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cast:
    """The cards, terminals, devices and cities of one seed; the same on every day."""

    seed: int
    n_cards: int
    n_terminals: int
    # cities
    city_country: np.ndarray
    city_terminals: np.ndarray  # (n cities + 1) offsets into `counters`
    city_cards: np.ndarray  # (n cities + 1) offsets into `neighbours`
    counters: np.ndarray  # terminals one stands at, grouped by city
    neighbours: np.ndarray  # cards, grouped by city
    destinations: np.ndarray  # cumulative weight of each city for a traveller
    # terminals
    terminal_city: np.ndarray  # -1 online
    price: np.ndarray  # log of the typical price against a card's habit
    shops: np.ndarray  # terminals that are online
    shop_popularity: np.ndarray  # cumulative
    appeal: np.ndarray  # to those who compromise terminals; sums to 1 in a world of 1,000 cards
    visits: np.ndarray  # expected payments a day, by terminal
    # cards
    city: np.ndarray
    home: np.ndarray  # country
    rate: np.ndarray  # payments a day
    habit: np.ndarray  # log of the typical amount
    spread: np.ndarray  # deviation of the log amount
    kind: np.ndarray  # row of HOURS
    online: np.ndarray  # share of payments made online
    favourites: np.ndarray  # (n cards, 6) terminals near home
    bookmarks: np.ndarray  # (n cards, 6) shops
    # devices
    first_device: np.ndarray
    n_devices: np.ndarray
    device_life: np.ndarray  # days until it is replaced
    device_age: np.ndarray  # days on day 0


def _prices(uniform: np.ndarray, table: tuple[tuple[float, float], ...]) -> np.ndarray:
    shares, factors = np.array(table).T
    return np.log(factors)[_pick(uniform, np.cumsum(shares))]


def _cast(seed: int, n_cards: int) -> Cast:
    """Draw everything about the world that does not change from day to day."""
    n_terminals = max(40, round(0.6 * n_cards))
    n_shops = max(8, round(0.2 * n_terminals))
    n_counters = n_terminals - n_shops
    n_home = max(5, round(n_cards / 50))
    n_away = max(6, round(n_cards / 125))

    rng = _draws(seed, "terminals")
    country = _pick(rng.random(n_home), np.cumsum(HOME_WEIGHTS))
    country[:5] = np.arange(5)  # at least one city in every home country
    away = len(HOME_COUNTRIES) + np.arange(n_away) % len(AWAY_COUNTRIES)
    city_country = np.concatenate([country, away])
    n_cities = n_home + n_away
    size = np.concatenate([0.5 + rng.random(n_home), np.full(n_away, 0.45)])
    destinations = np.cumsum(size * np.where(np.arange(n_cities) < n_home, 1.0, 3.0))

    name = np.argsort(rng.random(n_terminals))  # so that an id tells nothing
    shops, counters = name[:n_shops], name[n_shops:]
    seats = _pick((np.arange(n_counters) + 0.5) / n_counters, np.cumsum(size))
    terminal_city = np.full(n_terminals, -1)
    terminal_city[counters] = seats
    price = np.empty(n_terminals)
    price[counters] = _prices(rng.random(n_counters), COUNTERS)
    price[shops] = _prices(rng.random(n_shops), SHOPS)
    shop_popularity = np.cumsum(np.exp(1.1 * _normal(rng.random(n_shops))))
    draw = np.exp(0.7 * _normal(rng.random(n_counters)))
    place = rng.random((n_counters, 2)) * 10
    lax = rng.random(n_counters) < 0.06  # kept carelessly: compromised again and again
    city_terminals = np.searchsorted(seats, np.arange(n_cities + 1))

    rng = _draws(seed, "cards")
    city = np.sort(_pick((np.arange(n_cards) + 0.5) / n_cards, np.cumsum(size[:n_home])))
    city = city[np.argsort(rng.random(n_cards))]
    neighbours = np.argsort(city, kind="stable")
    city_cards = np.searchsorted(city[neighbours], np.arange(n_cities + 1))
    home_place = rng.random((n_cards, 2)) * 10
    favourites = np.empty((n_cards, len(FAVOURITE_SHARES)), dtype=np.int64)
    for c in range(n_home):
        people = neighbours[city_cards[c] : city_cards[c + 1]]
        here = np.arange(city_terminals[c], city_terminals[c + 1])
        gap = home_place[people, None, :] - place[None, here, :]
        effort = (gap[..., 0] ** 2 + gap[..., 1] ** 2) / draw[here]
        nearest = np.argsort(effort, axis=1, kind="stable")[:, : favourites.shape[1]]
        padded = np.resize(np.arange(nearest.shape[1]), favourites.shape[1])
        favourites[people] = counters[here[nearest[:, padded]]]
    bookmarks = shops[_pick(rng.random(n_cards * 6), shop_popularity)].reshape(n_cards, 6)
    u = rng.random((6, n_cards))
    rate = np.clip(np.exp(np.log(2.83) + 0.5 * _normal(u[0])), 0.5, 10.0)
    online = np.clip(0.30 + 0.14 * _normal(u[1]), 0.04, 0.8)

    visits = np.zeros(n_terminals)
    shares = np.diff(FAVOURITE_SHARES, prepend=0.0)
    for k, share in enumerate(shares):
        np.add.at(visits, favourites[:, k], rate * (1 - online) * share)
    fit = (visits[counters] >= 0.6) & (visits[counters] <= 3.0)  # neither idle nor watched
    appeal = np.zeros(n_terminals)
    appeal[counters] = np.where(fit, np.where(lax, 50.0, 1.0), 1e-3 * (visits[counters] > 0))

    rng = _draws(seed, "devices")
    n_devices = 1 + (rng.random(n_cards) < 0.1)
    n_slots = int(n_devices.sum())
    life = 150 + 450 * rng.random(n_slots)
    return Cast(
        seed=seed,
        n_cards=n_cards,
        n_terminals=n_terminals,
        city_country=city_country,
        city_terminals=city_terminals,
        city_cards=city_cards,
        counters=counters,
        neighbours=neighbours,
        destinations=destinations,
        terminal_city=terminal_city,
        price=price,
        shops=shops,
        shop_popularity=shop_popularity,
        appeal=appeal / appeal.sum() * n_counters / 480,
        visits=visits,
        city=city,
        home=city_country[city],
        rate=rate,
        habit=np.log(24.0) + 0.55 * _normal(u[2]),
        spread=0.45 + 0.35 * u[3],
        kind=_pick(u[4], KINDS_OF_DAY),
        online=online,
        favourites=favourites,
        bookmarks=bookmarks,
        first_device=np.cumsum(n_devices) - n_devices,
        n_devices=n_devices,
        device_life=life,
        device_age=life * rng.random(n_slots),
    )


def _own_device(cast: Cast, card: np.ndarray, uniform: np.ndarray, day: int) -> np.ndarray:
    """Return the number of the device each card's owner holds on a day."""
    slot = cast.first_device[card] + np.floor(uniform**2 * cast.n_devices[card]).astype(np.int64)
    generation = np.floor((day + cast.device_age[slot]) / cast.device_life[slot])
    return slot * 128 + generation.astype(np.int64)


def _stolen_device(day: int, theft: int) -> int:
    """Return the number of the device used in one theft; no owner's device has it."""
    return (1 << 31) + ((day + BEFORE) << 17) + theft


# --- honest payments ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Payments:
    """Transactions as columns of numbers; each (n,) array has one value per transaction."""

    at: np.ndarray  # microseconds after the start of day 0
    card: np.ndarray
    terminal: np.ndarray
    device: np.ndarray  # -1 for card-present
    cents: np.ndarray
    country: np.ndarray
    scenario: np.ndarray  # -1 honest, else an index into SCENARIOS

    @staticmethod
    def join(parts: Iterable[Payments]) -> Payments:
        """Put several together, in their order."""
        parts = list(parts)
        names = Payments.__slots__
        if not parts:
            return Payments(**{name: np.empty(0, dtype=np.int64) for name in names})
        return Payments(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})

    def take(self, rows: np.ndarray) -> Payments:
        """Select rows by index or mask."""
        return Payments(**{name: getattr(self, name)[rows] for name in Payments.__slots__})


@dataclass(frozen=True, slots=True)
class _Trips:
    """Journeys that begin on one day: who, for how many days, and to which city."""

    card: np.ndarray
    days: np.ndarray
    city: np.ndarray


def _trips(cast: Cast, day: int) -> _Trips:
    rng = _draws(cast.seed, "travel", day)
    u = rng.random((3, cast.n_cards))
    holiday = 0.006 + 0.003 * (day % 7 in (4, 5)) + 0.004 * _ramp(day)  # towards the season
    card = np.flatnonzero(u[0] < holiday)
    return _Trips(card, _between(u[1, card] ** 1.5, 2, LONGEST_TRIP), _pick(u[2, card], cast.destinations))


def _whereabouts(cast: Cast, day: int, trips: dict[int, _Trips]) -> np.ndarray:
    """Return the city each card's owner is in."""
    where = cast.city.copy()
    for start in range(day - LONGEST_TRIP, day + 1):
        journey = trips[start]
        still = start + journey.days > day
        where[journey.card[still]] = journey.city[still]
    return where


def _sprees(cast: Cast, day: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (card, time of day) of many honest online payments in a short time."""
    rng = _draws(cast.seed, "sprees", day)
    u = rng.random((4, cast.n_cards))
    card = np.flatnonzero(u[0] < 0.004)
    count = _between(u[1, card], 3, 8)
    begin = _time_of_day(u[2, card], cast.kind[card], weekend=day % 7 >= 5)
    span = (5 + 70 * u[3, card]) * MINUTE
    each = rng.random(int(count.sum()))
    at = np.repeat(begin, count) + (np.repeat(span, count) * each).astype(np.int64)
    return np.repeat(card, count), np.minimum(at, DAY - 1)


def _honest(cast: Cast, day: int, trips: dict[int, _Trips]) -> Payments:
    """Draw one day of honest payments."""
    rng = _draws(cast.seed, "spending", day)
    today = FIRST_DAY + timedelta(days=day)
    payday = 1.08 if today.day >= 28 or today.day <= 2 else 1.0
    count = _poisson(rng.random(cast.n_cards), cast.rate * WEEK[day % 7] * payday)
    spree_card, spree_at = _sprees(cast, day)
    n_usual = int(count.sum())
    card = np.concatenate([np.repeat(np.arange(cast.n_cards), count), spree_card])
    n = len(card)
    usual = np.arange(n) < n_usual
    u = rng.random((14, n))

    at = _time_of_day(u[0], cast.kind[card], weekend=day % 7 >= 5)
    at[n_usual:] = spree_at
    online = (u[1] < cast.online[card] * (1 + 0.4 * _ramp(day))) | ~usual

    # Where: a favourite, somewhere else in the city one is in, or any other place.
    where = _whereabouts(cast, day, trips)[card]
    away = where != cast.city[card]
    explores = away | (u[2] > 0.82)
    first, last = cast.city_terminals[where], cast.city_terminals[where + 1]
    nearby = cast.counters[first + np.floor(u[3] * (last - first)).astype(np.int64)]
    favourite = cast.favourites[card, _pick(u[3], FAVOURITE_SHARES)]
    counter = np.where(explores, nearby, favourite)
    popular = cast.shops[_pick(u[3], cast.shop_popularity)]
    bookmark = cast.bookmarks[card, _pick(u[3], FAVOURITE_SHARES)]
    shop = np.where((u[2] > 0.7) | ~usual, popular, bookmark)
    terminal = np.where(online, shop, counter)

    # How much: habit, what is sold there, the mood of the day; small change, and now and then a sofa.
    log_amount = cast.habit[card] + 0.8 * cast.price[terminal] + cast.spread[card] * _normal(u[4])
    log_amount += _inflation(day) + np.where(away, 0.25, 0.0)
    log_amount += np.where(u[5] < 0.009, 1.0 + 1.4 * u[6], 0.0)
    small = online & (u[5] > 0.93)
    log_amount = np.where(small, np.log(0.7 + 5.0 * u[6] ** 2), log_amount)

    # On what, and seen from where.
    device = _own_device(cast, card, u[7], day)
    first, last = cast.city_cards[cast.city[card]], cast.city_cards[cast.city[card] + 1]
    friend = cast.neighbours[first + np.floor(u[8] * (last - first)).astype(np.int64)]
    borrowed = _own_device(cast, friend, u[7], day)
    device = np.where(u[9] < 0.018, borrowed, device)
    there = cast.city_country[where]
    relayed = _between(u[10], 0, len(COUNTRIES) - 1)  # the network shows another country
    country = np.where(online & (u[11] < 0.012), relayed, there)
    return Payments(
        at=day * DAY + at,
        card=card,
        terminal=terminal,
        device=np.where(online, device, -1),
        cents=_cents(log_amount),
        country=country,
        scenario=np.full(n, -1),
    )


# --- stolen payments ----------------------------------------------------------------------------


def _abroad(cast: Cast, card: int, uniform: float) -> int:
    """Return a country that is not the card's own."""
    step = 1 + int(uniform * (len(COUNTRIES) - 1))
    return int((cast.home[card] + step) % len(COUNTRIES))


def _online_theft(
    cast: Cast,
    scenario: str,
    card: int,
    device: int,
    country: int,
    at: np.ndarray,
    shop: np.ndarray,
    log_amount: np.ndarray,
) -> Payments:
    n = len(at)
    return Payments(
        at=at,
        card=np.full(n, card),
        terminal=cast.shops[_pick(shop, cast.shop_popularity)],
        device=np.full(n, device),
        cents=_cents(log_amount),
        country=np.full(n, country),
        scenario=np.full(n, SCENARIOS.index(scenario)),
    )


def _card_testing(cast: Cast, day: int) -> Iterator[Payments]:
    """Draw the thefts that begin on a day with tiny payments."""
    rng = _draws(cast.seed, "card_testing", day)
    victims = np.flatnonzero(rng.random(cast.n_cards) < 0.0019 * (1 - 0.7 * _ramp(day)))
    for k, card in enumerate(victims.tolist()):
        u = rng.random(8)
        n_tests, n_large = int(_between(u[1], 3, 8)), int(_between(u[2], 2, 6))
        begin = day * DAY + u[3] * DAY
        tests = begin + np.sort(rng.random(n_tests)) * (3 + 22 * u[4]) * MINUTE
        large = begin + (0.5 + 9 * np.sort(rng.random(n_large))) * HOUR
        tiny = np.log(0.5 + 2.5 * rng.random(n_tests))
        multiple = np.log(5.5 - 2.0 * _ramp(day)) + 0.55 * _normal(rng.random(n_large))
        hidden = u[5] < 0.55 + 0.3 * _ramp(day)
        yield _online_theft(
            cast,
            "card_testing",
            card,
            _stolen_device(day, 2 * k),
            int(cast.home[card]) if hidden else _abroad(cast, card, float(u[6])),
            np.concatenate([tests, large]).astype(np.int64),
            rng.random(n_tests + n_large),
            np.concatenate([tiny, cast.habit[card] + _inflation(day) + multiple]),
        )


def _account_takeover(cast: Cast, day: int) -> Iterator[Payments]:
    """Draw the thefts that begin on a day with a stranger's log-in."""
    rng = _draws(cast.seed, "account_takeover", day)
    victims = np.flatnonzero(rng.random(cast.n_cards) < 0.0016 * (1 + 2.6 * _ramp(day)))
    for k, card in enumerate(victims.tolist()):
        u = rng.random(8)
        n, days = int(_between(u[1], 3, 9)), int(_between(u[2], 1, 3))
        night = np.floor(rng.random(n) * days)
        late = (22.5 + 7 * rng.random(n)) * HOUR
        any_time = _time_of_day(rng.random(n), np.full(n, 2), weekend=False)
        at = (day + night) * DAY + np.where(rng.random(n) < 0.8 - 0.3 * _ramp(day), late, any_time)
        hidden = u[3] < 0.15 + 0.4 * _ramp(day)
        own_device = u[4] < 0.18  # remote control of the owner's own machine
        device = _own_device(cast, np.array([card]), u[5:6], day)[0]
        multiple = np.log(4.4 - 1.4 * _ramp(day)) + 0.55 * _normal(rng.random(n))
        yield _online_theft(
            cast,
            "account_takeover",
            card,
            int(device) if own_device else _stolen_device(day, 2 * k + 1),
            int(cast.home[card]) if hidden else _abroad(cast, card, float(u[6])),
            at.astype(np.int64),
            rng.random(n),
            cast.habit[card] + _inflation(day) + multiple,
        )


def _compromised_terminal(cast: Cast, day: int) -> Iterator[Payments]:
    """Draw the thefts at terminals that are compromised from a day on."""
    rng = _draws(cast.seed, "compromised_terminal", day)
    for terminal in np.flatnonzero(rng.random(cast.n_terminals) < 0.38 * cast.appeal).tolist():
        u = rng.random(4)
        days = int(_between(u[1], 10, LONGEST_EPISODE - 2))
        stolen = 0.4 + 0.25 * u[2]  # share of the terminal's payments that are not honest
        volume = cast.visits[terminal] * stolen / (1 - stolen)
        count = _poisson(rng.random(days), np.full(days, volume))
        n = int(count.sum())
        regulars, rank = np.nonzero(cast.favourites == terminal)
        weight = cast.rate[regulars] * np.diff(FAVOURITE_SHARES, prepend=0.0)[rank]
        card = regulars[_pick(rng.random(n), np.cumsum(weight))]
        when = np.repeat(day + np.arange(days), count)
        clock = _time_of_day(rng.random(n), np.minimum(cast.kind[card], 2), weekend=False)
        log_amount = cast.habit[card] + 0.8 * cast.price[terminal] + _inflation(day)
        log_amount += 0.6 + cast.spread[card] * _normal(rng.random(n))
        yield Payments(
            at=when * DAY + clock,
            card=card,
            terminal=np.full(n, terminal),
            device=np.full(n, -1),
            cents=_cents(log_amount),
            country=np.full(n, cast.city_country[cast.terminal_city[terminal]]),
            scenario=np.full(n, SCENARIOS.index("compromised_terminal")),
        )


def _stolen(cast: Cast, start_day: int, end_day: int) -> Payments:
    """Draw all stolen payments of some days, in the order in which the thefts began."""
    thefts = Payments.join(
        payments
        for day in range(start_day - LONGEST_EPISODE, end_day)
        for draw in (_card_testing, _compromised_terminal, _account_takeover)
        for payments in draw(cast, day)
    )
    return thefts.take((thefts.at >= start_day * DAY) & (thefts.at < end_day * DAY))


def _delays(seed: int, day: int, n: int) -> np.ndarray:
    """Return microseconds from each theft of a day to its report, -1 where nobody reports it."""
    u = _draws(seed, "reports", day).random((n, 3))
    hours = 3 + np.clip(np.exp(np.log(38.0) + 0.62 * _normal(u[:, 1])), 0, 155)
    late = 7 * 24 + 20 * 24 * u[:, 1] ** 2  # somebody who reads statements once a month
    delay = np.where(u[:, 2] < 0.05, late, hours) * HOUR
    return np.where(u[:, 0] < 0.92, delay.astype(np.int64), -1)


# --- the world as frames ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class World:
    """What happened on some days, and what was later reported about them.

    transactions
        tx_id, at, card_id, terminal_id, device_id, channel, amount, country; in time order.
    chargebacks
        tx_id, at, reported_at, card_id, terminal_id: every report about these transactions, also
        those that come in after the last of the days; in order of the transactions.
    truth
        tx_id, at, fraud, scenario, for every transaction. No project can know this.
    """

    transactions: pl.DataFrame
    chargebacks: pl.DataFrame
    truth: pl.DataFrame


def simulate(start_day: int, end_day: int, *, seed: int = 7, cards: int = 1000) -> World:
    """Simulate the days from `start_day` up to, not including, `end_day`.

    Parameters
    ----------
    start_day, end_day
        Days after 5 January 2026, at least 0. Adjoining calls fit together: days 0-60 followed by
        60-67 are days 0-67.
    seed
        At least 0. Another seed is another world: other cards, other habits, other thefts.
    cards
        At least 20. Terminals, devices, cities and thefts grow in proportion.

    Returns
    -------
    World
        About 3.3 transactions per card and day, of which about one in a hundred is fraud.
    """
    _check(start_day, end_day, seed, cards)
    cast = _cast(seed, cards)
    stolen = _stolen(cast, start_day, end_day)
    trips = {day: _trips(cast, day) for day in range(start_day - LONGEST_TRIP, end_day)}
    parts, numbers, gaps, delays = [], [], [], []
    for day in range(start_day, end_day):
        today = Payments.join([_honest(cast, day, trips), stolen.take(stolen.at // DAY == day)])
        today = today.take(np.argsort(today.at, kind="stable"))
        n = len(today.at)
        delay = np.full(n, -1)
        thefts = today.scenario >= 0
        delay[thefts] = _delays(seed, day, int(thefts.sum()))
        parts.append(today)
        numbers.append(day * 1_000_000 + np.arange(n))
        gaps.append(_draws(seed, "gaps", day).random(n) < 0.001)
        delays.append(delay)
    none = np.empty(0, dtype=np.int64)
    return _frames(
        Payments.join(parts),
        np.concatenate([none, *numbers]),
        np.concatenate([none.astype(bool), *gaps]),
        np.concatenate([none, *delays]),
    )


def _check(start_day: int, end_day: int, seed: int, cards: int) -> None:
    """Refuse a world that can not be."""
    if not 0 <= start_day <= end_day <= 9_999:
        raise ValueError(f"days must satisfy 0 <= start <= end <= 9999, found {start_day} and {end_day}.")
    if seed < 0 or not 20 <= cards <= 200_000:
        raise ValueError(f"seed must be >= 0 and cards within 20..200000, found {seed} and {cards}.")


def _ids(prefix: str, width: int, column: str) -> pl.Expr:
    digits = pl.col(column).cast(pl.String).str.zfill(width)
    return pl.concat_str(pl.lit(prefix), digits)


def _device_ids(number: np.ndarray) -> pl.Series:
    """Name devices so that the name does not show whose they are; -1 has none."""
    distinct, index = np.unique(number, return_inverse=True)
    mixed = distinct.astype(np.uint64)  # a one-to-one scramble of 32 bits
    for factor in (0x7FEB352D, 0x846CA68B):
        mixed = ((mixed ^ (mixed >> np.uint64(16))) * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    names = [None if d < 0 else f"d-{m:08x}" for d, m in zip(distinct.tolist(), mixed.tolist(), strict=True)]
    return pl.Series("device_id", names, dtype=pl.String).gather(index)


def _frames(payments: Payments, number: np.ndarray, gap: np.ndarray, delay: np.ndarray) -> World:
    instant = pl.Datetime("us", "UTC")
    country = np.where(gap, len(COUNTRIES), payments.country)
    raw = pl.DataFrame(
        {
            "number": number,
            "at": payments.at + EPOCH_US,
            "card": payments.card,
            "terminal": payments.terminal,
            "cents": payments.cents,
            "scenario": payments.scenario,
            "delay": delay,
        }
    ).with_columns(
        _ids("t-", 10, "number").alias("tx_id"),
        pl.col("at").cast(instant),
        _ids("c-", 4, "card").alias("card_id"),
        _ids("m-", 4, "terminal").alias("terminal_id"),
        _device_ids(payments.device),
        pl.Series("channel", ["present", "online"], dtype=pl.String).gather(payments.device >= 0),
        (pl.col("cents") / 100).cast(pl.Decimal(12, 2)).alias("amount"),
        pl.Series("country", [*COUNTRIES, None], dtype=pl.String).gather(country),
        (pl.col("at") + pl.col("delay")).cast(instant).alias("reported_at"),
        pl.Series("scenario", [*SCENARIOS, None], dtype=pl.String).gather(
            np.where(payments.scenario < 0, len(SCENARIOS), payments.scenario)
        ),
    )
    return World(
        transactions=raw.select(
            "tx_id", "at", "card_id", "terminal_id", "device_id", "channel", "amount", "country"
        ),
        chargebacks=raw.filter(pl.col("delay") >= 0).select(
            "tx_id", "at", "reported_at", "card_id", "terminal_id"
        ),
        truth=raw.select("tx_id", "at", pl.col("scenario").is_not_null().alias("fraud"), "scenario"),
    )


# --- files --------------------------------------------------------------------------------------

# How many bad rows of each kind a file gets. Parquet can not hold a time without a meaning.
_PLANTED_IN_PARQUET = {
    "negative_amount": 2,
    "amount_over_bound": 2,
    "missing_card_id": 2,
    "too_many_decimals": 2,
    "exact_duplicate": 2,
    "conflicting_content": 1,
}
_PLANTED_IN_CSV = {
    "negative_amount": 1,
    "amount_over_bound": 1,
    "missing_card_id": 1,
    "unparsable_time": 3,
    "zoneless_time": 3,
    "too_many_decimals": 1,
    "exact_duplicate": 3,
    "conflicting_content": 2,
}
_PLANTED_IN_JSON_LINES = {
    "missing_card_id": 1,
    "unparsable_time": 1,
    "zoneless_time": 1,
    "exact_duplicate": 2,
    "conflicting_content": 1,
}
_UNPARSABLE = ("05/01/2026 10:15", "yesterday", "2026-13-01T10:15:00.000000Z")


def write(
    folder: str | Path,
    start_day: int,
    end_day: int,
    known_until_day: int | None = None,
    *,
    seed: int = 7,
    cards: int = 1000,
    plant_bad_rows: bool = True,
    truth: str | Path | None = None,
) -> dict[str, Any]:
    """Simulate some days and write them as the files a payment network would deliver.

    `transactions/` holds a Parquet file per week and the last week as CSV; `chargebacks/` holds
    JSON lines, a file per week of *reporting*, so that nothing is in the folder before it was
    known. A file is named after its first day. `manifest.json` describes this call.

    Parameters
    ----------
    folder
        Created where missing; files of the same names are replaced.
    start_day, end_day
        Days of the transactions, as in `simulate`. Weeks are counted from day 0.
    known_until_day
        Reports from `start_day` up to, not including, this day are written, whenever the
        transaction was; by default `end_day`. So consecutive calls deliver every report once.
    plant_bad_rows
        Add a known, small number of rows that break the contract, each after a good one. No good
        row is changed; `exact_duplicate` and `conflicting_content` repeat the id of one.
    truth
        Where to write tx_id, at, fraud, scenario of every transaction, as Parquet; by default
        nowhere. Keep it out of `folder`.

    Returns
    -------
    dict
        The manifest: the parameters, `transactions` and `chargebacks` (good rows), `files`
        ({name: rows, bad ones included}), `planted` ({reason: rows}) and `planted_by_file`.
    """
    _check(start_day, end_day, seed, cards)
    until = end_day if known_until_day is None else known_until_day
    if until < start_day:
        raise ValueError(f"known_until_day must be at least {start_day}, found {until}.")
    before = max(0, start_day - LONGEST_DELAY_DAYS)
    world = simulate(before, end_day, seed=seed, cards=cards)
    transactions = world.transactions.filter(pl.col("at") >= _instant(start_day))
    reports = world.chargebacks.sort("reported_at", "tx_id")
    reports = reports.filter(
        pl.col("reported_at").is_between(_instant(start_day), _instant(until), closed="left")
    )

    deliveries: list[tuple[str, pl.DataFrame, dict[str, int]]] = []
    weeks = list(_weeks(start_day, end_day))
    for first, last in weeks:
        rows = transactions.filter(pl.col("at").is_between(_instant(first), _instant(last), closed="left"))
        if (first, last) == weeks[-1]:
            name, rows, planted = "csv", _as_text(rows), _PLANTED_IN_CSV
        else:
            name, rows = "parquet", rows.with_columns(pl.col("amount").cast(pl.Float64))
            planted = _PLANTED_IN_PARQUET if (first, last) == weeks[0] else {}
        deliveries.append((f"transactions/{_date(first)}.{name}", rows, planted))
    weeks = list(_weeks(start_day, until))
    for first, last in weeks:
        rows = reports.filter(
            pl.col("reported_at").is_between(_instant(first), _instant(last), closed="left")
        )
        planted = _PLANTED_IN_JSON_LINES if (first, last) == weeks[-1] else {}
        deliveries.append((f"chargebacks/{_date(first)}.jsonl", _as_text(rows), planted))

    rng, spare = _draws(seed, "planting", start_day), count(900_000)
    files: dict[str, int] = {}
    planted_by_file: dict[str, dict[str, int]] = {}
    for name, rows, plan in deliveries:
        if plant_bad_rows:
            rows, planted = _plant(rows, plan, rng, spare)
            if planted:
                planted_by_file[name] = planted
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _WRITERS[path.suffix](rows, path)
        files[name] = rows.height
    if truth is not None:
        Path(truth).parent.mkdir(parents=True, exist_ok=True)
        world.truth.filter(pl.col("at") >= _instant(start_day)).write_parquet(truth)

    counts = planted_by_file.values()
    totals = {reason: sum(c.get(reason, 0) for c in counts) for reason in PLANTED_REASONS}
    manifest = {
        "seed": seed,
        "cards": cards,
        "start_day": start_day,
        "end_day": end_day,
        "known_until_day": until,
        "transactions": transactions.height,
        "chargebacks": reports.height,
        "files": files,
        "planted": {reason: n for reason, n in totals.items() if n},
        "planted_by_file": planted_by_file,
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    text = json.dumps(manifest, indent=2) + "\n"
    (Path(folder) / "manifest.json").write_text(text, encoding="utf-8")
    return manifest


_WRITERS = {
    ".parquet": pl.DataFrame.write_parquet,
    ".csv": pl.DataFrame.write_csv,
    ".jsonl": pl.DataFrame.write_ndjson,
}


def _instant(day: int) -> datetime:
    return datetime.combine(_date(day), time(), UTC)


def _date(day: int) -> date:
    return FIRST_DAY + timedelta(days=day)


def _weeks(start_day: int, end_day: int) -> Iterator[tuple[int, int]]:
    """Cut days at the weeks that begin with day 0."""
    while start_day < end_day:
        cut = min(end_day, (start_day // 7 + 1) * 7)
        yield start_day, cut
        start_day = cut


def _as_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Write times as ISO 8601 with Z, and amounts with two places."""
    return rows.with_columns(
        pl.selectors.temporal().dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
        pl.selectors.decimal().cast(pl.String),
    )


def _plant(
    rows: pl.DataFrame, plan: dict[str, int], rng: np.random.Generator, spare: Iterator[int]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Put bad copies of some rows behind them, and count them by reason.

    `spare` gives the ordinals, unused by the day, of those that need an id of their own.
    """
    reasons = [reason for reason, n in plan.items() for _ in range(n)]
    places = np.argsort(rng.random(rows.height))[: len(reasons)].tolist()
    bad, planted = [], dict.fromkeys(plan, 0)
    for place, reason in zip(places, reasons, strict=False):  # a tiny file has fewer places
        row = rows.row(place, named=True)
        if reason not in ("exact_duplicate", "conflicting_content"):
            row["tx_id"] = f"{row['tx_id'][:6]}{next(spare):06d}"
        bad.append(row | _spoilt(row, reason, planted[reason]))
        planted[reason] += 1
    position = pl.Series("position", [*range(rows.height), *(p + 0.5 for p in places)], pl.Float64)
    together = pl.concat([rows, pl.DataFrame(bad, schema=rows.schema, orient="row")])
    together = together.with_columns(position).sort("position").drop("position")
    return together, {reason: n for reason, n in planted.items() if n}


def _spoilt(row: dict[str, Any], reason: str, turn: int) -> dict[str, Any]:
    """Return the columns of a good row that a bad copy of it has different."""
    amount = row.get("amount")

    def as_before(text: str) -> str | float:
        return text if isinstance(amount, str) else float(text)

    match reason:
        case "negative_amount":
            return {"amount": as_before(f"-{amount}")}
        case "amount_over_bound":
            return {"amount": as_before(("100000.01", "250000.00")[turn % 2])}
        case "missing_card_id":
            return {"card_id": None}
        case "unparsable_time":
            return {"at": _UNPARSABLE[turn % len(_UNPARSABLE)]}
        case "zoneless_time":
            return {"at": row["at"].removesuffix("Z")}
        case "too_many_decimals":
            return {"amount": as_before(f"{float(amount):.2f}5")}
        case "exact_duplicate":
            return {}
        case "conflicting_content" if amount is None:
            return {"terminal_id": "m-0000" if row["terminal_id"] != "m-0000" else "m-0001"}
        case "conflicting_content":
            return {"amount": as_before(f"{float(amount) + 1:.2f}")}
    raise ValueError(f"`{reason}` is none of {', '.join(PLANTED_REASONS)}.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="simulator.py",
        description="Write the card payments and chargebacks of a small, repeatable world:\n"
        "the same seed and options give the same events.",
        epilog="examples:\n"
        "  python simulator.py --days 60 --out events/\n"
        "      two months: about 200,000 transactions of 1,000 cards, and the reports so far\n"
        "  python simulator.py --from-day 60 --days 7 --out more-events/\n"
        "      the week after, with the reports that came in during it\n"
        "  python simulator.py --days 60 --out events/ --truth truth.parquet\n"
        "      also which transactions were fraud, for those who want to look behind the scenes\n"
        "\n"
        "files:\n"
        "  transactions/DATE.parquet   a week of transactions each; the last week is DATE.csv\n"
        "  chargebacks/DATE.jsonl      what was reported in a week, about any earlier transaction\n"
        "  manifest.json               rows by file, and the bad rows planted, by reason\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--days", type=int, default=60, metavar="N", help="how many days (default: 60)")
    add(
        "--from-day",
        type=int,
        default=0,
        metavar="N",
        help=f"the first of them, counted from {FIRST_DAY} as day 0 (default: 0)",
    )
    add(
        "--known-until",
        type=int,
        metavar="N",
        help="write the reports that came in before this day (default: the end of the days)",
    )
    add(
        "--out",
        type=Path,
        default=Path("events"),
        metavar="DIR",
        help="folder to write to; files of the same names are replaced (default: events)",
    )
    add("--seed", type=int, default=7, metavar="N", help="which world (default: 7)")
    add("--cards", type=int, default=1000, metavar="N", help="how large a world (default: 1000)")
    add(
        "--plant-bad-rows",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="add a few rows that break the contract, to see them refused (default: yes)",
    )
    add("--truth", type=Path, metavar="FILE", help="also write the fraud and its scenario here")
    chosen = parser.parse_args(arguments)
    try:
        manifest = write(
            chosen.out,
            chosen.from_day,
            chosen.from_day + chosen.days,
            chosen.known_until,
            seed=chosen.seed,
            cards=chosen.cards,
            plant_bad_rows=chosen.plant_bad_rows,
            truth=chosen.truth,
        )
    except ValueError as problem:
        parser.error(str(problem))
    print(
        f"{manifest['transactions']:,} transactions and {manifest['chargebacks']:,} chargebacks "
        f"in {len(manifest['files'])} files under {chosen.out}"
    )
    if manifest["planted"]:
        reasons = ", ".join(f"{reason} {n}" for reason, n in manifest["planted"].items())
        print(f"{sum(manifest['planted'].values())} bad rows planted: {reasons}")


if __name__ == "__main__":
    main()
