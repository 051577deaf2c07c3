"""Window kernels: exact aggregates of the events each spine row could have known, in one pass per group.

Events and spine rows arrive grouped by entity and sorted by time (`holdfast.features.grouping`). What is found
of a window is lowered by `holdfast.features.lowering_kernels`. All numbers are int64 and nothing wraps, so the
kernels also run as plain Python.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

from holdfast.features.distinct_kernels import RANKS, WIDTH, estimate, rank_of, scramble
from holdfast.features.lowering_kernels import (
    AS_OF,
    COUNT,
    DISTINCT,
    FIRST,
    LAST,
    MAX,
    MEAN,
    MIN,
    SINCE,
    STATES,
    STD,
    SUM,
    VAR,
    lower,
    product,
)

BUILT_ON = "49c46a1d5ad42738"
"""Hash of the modules whose functions are compiled into these kernels: numba's cache looks at this file alone."""

OK, TOO_MANY, TOO_LARGE = 0, 1, 2
"""What a kernel answers: done, a window holds too many events, a value is beyond the fixed-point limit."""

VALUES, MASK, SCALE, IS_FLOAT = range(4)
"""Columns of `lanes`."""

PATIENCE = 2
"""How many times the cost of a sweep may be spent on scanning unknown tails before a group is swept."""

_LIMIT = 2**32
_HIGHEST = 2**63 - 1
_LOWEST = -(2**63)
FOREVER = _HIGHEST
"""Until when an event is seen that nothing corrects."""

_ints = types.Array(types.int64, 1, "C", readonly=True)
_table = types.Array(types.int64, 2, "C", readonly=True)
_cube = types.Array(types.int64, 3, "C", readonly=True)
_masks = types.Array(types.boolean, 2, "C", readonly=True)


# ----------------------------------------------------------------------------------------- trees of extremes
@register_jitable
def tree_min(tree, size, l, r):
    """Smallest of leaves [l, r) of a bottom-up tree."""
    best = _HIGHEST
    l += size
    r += size
    while l < r:
        if l & 1:
            best = min(best, tree[l])
            l += 1
        if r & 1:
            r -= 1
            best = min(best, tree[r])
        l >>= 1
        r >>= 1
    return best


@register_jitable
def tree_max(tree, size, l, r):
    """Greatest of leaves [l, r) of a bottom-up tree."""
    best = _LOWEST
    l += size
    r += size
    while l < r:
        if l & 1:
            best = max(best, tree[l])
            l += 1
        if r & 1:
            r -= 1
            best = max(best, tree[r])
        l >>= 1
        r >>= 1
    return best


@register_jitable
def tree_sum(tree, size, l, r):
    """Sum of leaves [l, r) of a bottom-up tree."""
    total = 0
    l += size
    r += size
    while l < r:
        if l & 1:
            total += tree[l]
            l += 1
        if r & 1:
            r -= 1
            total += tree[r]
        l >>= 1
        r >>= 1
    return total


@register_jitable
def insert(tree, size, leaf, v, kind):
    """Add v to a leaf, or let it compete there (kind MIN or MAX), and pass that on to the root."""
    node = leaf + size
    while node:
        if kind == MIN:
            tree[node] = min(tree[node], v)
        elif kind == MAX:
            tree[node] = max(tree[node], v)
        else:
            tree[node] += v
        node >>= 1


@register_jitable
def withdraw(tree, size, leaf, kind):
    """Take away what competes at a leaf (kind MIN or MAX), and let the others of its ancestors compete."""
    node = leaf + size
    tree[node] = _HIGHEST if kind == MIN else _LOWEST
    node >>= 1
    while node:
        if kind == MIN:
            tree[node] = min(tree[2 * node], tree[2 * node + 1])
        else:
            tree[node] = max(tree[2 * node], tree[2 * node + 1])
        node >>= 1


@register_jitable
def add(state, r, v, sums, squares):
    """Take one more value into column r of the states of a window."""
    state[0, r] += 1
    if sums:
        state[1, r] += v
    if squares:
        high, low = product(abs(v), abs(v))
        state[2, r] += high
        state[3, r] += low
    state[4, r] = min(state[4, r], v)
    state[5, r] = max(state[5, r], v)


@register_jitable
def ascending(keys):
    """Stable order of keys by merging runs of doubling length, O(n log n)."""
    n = keys.size
    order = np.arange(n)
    spare = np.empty(n, np.int64)
    run = 1
    while run < n:
        for low in range(0, n, 2 * run):
            middle, high = min(low + run, n), min(low + 2 * run, n)
            i, j = low, middle
            for k in range(low, high):
                if j >= high or (i < middle and keys[order[i]] <= keys[order[j]]):
                    spare[k] = order[i]
                    i += 1
                else:
                    spare[k] = order[j]
                    j += 1
        order, spare = spare, order
        run *= 2
    return order


# ------------------------------------------------------------------------------------------------- kernels
@register_jitable
def enter(c, counts, sketched, register, rank, tally, top, hist):
    """Count one more event of the value numbered c; return 1 if it is the first."""
    counts[c] += 1
    if counts[c] > 1:
        return 0
    if sketched:
        j, k = register[c], rank[c]
        tally[j, k] += 1
        if k > top[j]:
            hist[top[j]] -= 1
            hist[k] += 1
            top[j] = k
    return 1


@register_jitable
def leave(c, counts, sketched, register, rank, tally, top, hist):
    """Count one event less of the value numbered c; return 1 if it was the last."""
    counts[c] -= 1
    if counts[c] > 0:
        return 0
    if sketched:
        j, k = register[c], rank[c]
        tally[j, k] -= 1
        if k == top[j] and tally[j, k] == 0:
            hist[k] -= 1
            while k > 0 and tally[j, k] == 0:
                k -= 1
            hist[k] += 1
            top[j] = k
    return 1


@register_jitable
def is_seen(arrived, until, j, known):
    """Whether an event had arrived, and nothing that corrects it."""
    return arrived[j] <= known and (until.size == 0 or until[j] > known)


@njit(
    types.UniTuple(types.int64, 2)(
        _ints, _ints, _ints, _ints,
        _ints, _ints, _ints, _ints,
        _table, _table, _masks, _table, _cube,
        types.float64[:, ::1], types.int64[:, ::1],
        types.int64, types.float64, types.int64,
    ),
    cache=True,
    error_model="numpy",
    nogil=True,
)  # fmt: skip
def window_values(
    time, arrived, until, start,
    t, known, rows, first,
    spans, values, masks, lanes, slots,
    out, bits,
    max_events, patience, exact,
):  # fmt: skip
    """All windows and aggregates of one source and entity, as known at each spine row.

    Group g holds events [start[g], start[g+1]), in their total order, and spine rows [first[g], first[g+1]),
    sorted by t; `rows` says where in `out` a spine row is written. An event is seen from `arrived` on and
    before `until` (FOREVER; empty where nothing is corrected). `spans` (W, 3) holds over, offset and hop. A
    lane (L, 4) is a row of `values`, a row of `masks` (-1: all events), a scale and whether values are
    ordered float bits; `slots` (L, W, KINDS) says which row of `out` receives an aggregate of a lane, or -1.
    `out` (K, n) comes filled with the values of empty windows; `bits` is the same memory as int64. Up to
    `exact` different values, a power of two, are counted exactly.

    Returns (verdict, lane or window at fault).

    Where all events of a window that a row may see are seen, sums are differences of prefix sums. From the
    first event on that was still unknown or is corrected, events are scanned; a group where that would be
    slow is swept in the order in which events come and go instead, over trees. O(events + rows x windows) in
    the first case, times log(events of the group) in the last. Different values are counted by two pointers
    in both cases, with a scan of what was still unknown.
    """
    groups = start.size - 1
    most_events = most_rows = 0
    for g in range(groups):
        if first[g + 1] > first[g]:
            most_events = max(most_events, start[g + 1] - start[g])
            most_rows = max(most_rows, first[g + 1] - first[g])
    n_windows, n_lanes = spans.shape[0], lanes.shape[0]
    corrected = until.size > 0
    ordered = counted = False
    for lane in range(n_lanes):
        for w in range(n_windows):
            ordered |= slots[lane, w, FIRST] >= 0 or slots[lane, w, LAST] >= 0 or slots[lane, w, AS_OF] >= 0
            counted |= slots[lane, w, DISTINCT] >= 0

    peak = np.empty(most_events, np.int64)
    trough = np.empty(most_events if corrected else 0, np.int64)
    split = np.empty(most_rows, np.int64)
    lows = np.empty((n_windows, most_rows), np.int64)
    highs = np.empty((n_windows, most_rows), np.int64)
    prefix = np.zeros((4, most_events + 1), np.int64)
    trees = np.empty((8 if ordered else 6, 2 * most_events), np.int64)
    nearby = np.empty((2, most_events + 1 if ordered else 0), np.int64)
    states = np.empty((n_windows, STATES, most_rows), np.int64)
    n_codes = most_events if counted else 0
    codes = np.empty(n_codes, np.int64)
    register = np.empty(n_codes, np.int64)
    rank = np.empty(n_codes, np.int64)
    counts = np.zeros(n_codes, np.int64)
    n_registers = WIDTH * exact if most_events > exact and counted else 0
    tally = np.zeros((n_registers, RANKS), np.int64)
    top = np.zeros(n_registers, np.int64)
    hist = np.zeros(RANKS, np.int64)
    hist[0] = n_registers

    for g in range(groups):
        e0, r0 = start[g], first[g]
        m, n_rows = start[g + 1] - e0, first[g + 1] - r0
        if m == 0 or n_rows == 0:
            continue

        # up to `split`, every event is seen by the row
        peak[0] = arrived[e0]
        for j in range(1, m):
            peak[j] = max(peak[j - 1], arrived[e0 + j])
        if corrected:
            trough[0] = until[e0]
            for j in range(1, m):
                trough[j] = min(trough[j - 1], until[e0 + j])
        for r in range(n_rows):
            k = known[r0 + r]
            a, b = 0, m
            if r > 0:  # mostly a little after the row before
                a = split[r - 1]
                if a == 0 or is_seen(peak, trough, a - 1, k):
                    stop = min(m, a + 8)
                    while a < stop and is_seen(peak, trough, a, k):
                        a += 1
                    if a < stop:
                        b = a
                else:
                    a, b = 0, a
            while a < b:
                middle = (a + b) >> 1
                if is_seen(peak, trough, middle, k):
                    a = middle + 1
                else:
                    b = middle
            split[r] = a

        # the bounds of every window, by two pointers
        tail = 0
        for w in range(n_windows):
            over, offset, hop = spans[w, 0], spans[w, 1], spans[w, 2]
            a = b = 0
            for r in range(n_rows):
                high = t[r0 + r] - offset
                low = high - over
                if hop:
                    low = low // hop * hop
                    if offset > 0:
                        high = high // hop * hop
                while a < m and time[e0 + a] < low:
                    a += 1
                b = max(a, b)
                while b < m and time[e0 + b] < high:
                    b += 1
                if b - a >= max_events:
                    return TOO_MANY, w
                lows[w, r] = a
                highs[w, r] = b
                tail += max(0, b - max(a, split[r]))
        depth = 1
        while m >> depth:
            depth += 1
        sweep = tail > patience * depth * (m + n_windows * n_rows)
        by_arrival = np.empty(0, np.int64)
        by_until = np.empty(0, np.int64)
        by_known = np.empty(0, np.int64)
        if sweep:
            by_arrival = ascending(arrived[e0 : e0 + m])
            by_known = ascending(known[r0 : r0 + n_rows])
            if corrected:
                by_until = ascending(until[e0 : e0 + m])

        for lane in range(n_lanes):
            vals, mask = lanes[lane, VALUES], lanes[lane, MASK]
            scale, is_float = lanes[lane, SCALE], lanes[lane, IS_FLOAT] != 0
            sums = squares = smallest = greatest = earliest = latest = different = False
            for w in range(n_windows):
                squares |= slots[lane, w, STD] >= 0 or slots[lane, w, VAR] >= 0
                sums |= slots[lane, w, SUM] >= 0 or slots[lane, w, MEAN] >= 0
                smallest |= slots[lane, w, MIN] >= 0
                greatest |= slots[lane, w, MAX] >= 0 or slots[lane, w, SINCE] >= 0
                earliest |= slots[lane, w, FIRST] >= 0
                latest |= slots[lane, w, LAST] >= 0 or slots[lane, w, AS_OF] >= 0
                different |= slots[lane, w, DISTINCT] >= 0
            sums |= squares

            if sums:
                for j in range(e0, e0 + m):
                    if (mask < 0 or masks[mask, j]) and not -_LIMIT <= values[vals, j] <= _LIMIT:
                        return TOO_LARGE, lane

            if sweep:
                trees[:4, : 2 * m] = 0
                trees[4, : 2 * m] = _HIGHEST
                trees[5, : 2 * m] = _LOWEST
                if ordered:
                    trees[6, : 2 * m] = _HIGHEST
                    trees[7, : 2 * m] = _LOWEST
                arrivals = departures = 0
                for i in range(n_rows):
                    r = by_known[i]
                    k = known[r0 + r]
                    while arrivals < m and arrived[e0 + by_arrival[arrivals]] <= k:
                        leaf = by_arrival[arrivals]
                        arrivals += 1
                        if mask >= 0 and not masks[mask, e0 + leaf]:
                            continue
                        if corrected and until[e0 + leaf] <= arrived[e0 + leaf]:
                            continue  # corrected before it came
                        insert(trees[0], m, leaf, 1, COUNT)
                        if vals < 0:
                            continue
                        v = values[vals, e0 + leaf]
                        if sums:
                            insert(trees[1], m, leaf, v, SUM)
                        if squares:
                            h, l = product(abs(v), abs(v))
                            insert(trees[2], m, leaf, h, SUM)
                            insert(trees[3], m, leaf, l, SUM)
                        if smallest:
                            insert(trees[4], m, leaf, v, MIN)
                        if greatest:
                            insert(trees[5], m, leaf, v, MAX)
                        if earliest:
                            insert(trees[6], m, leaf, leaf, MIN)
                        if latest:
                            insert(trees[7], m, leaf, leaf, MAX)
                    while departures < by_until.size and until[e0 + by_until[departures]] <= k:
                        leaf = by_until[departures]
                        departures += 1
                        if mask >= 0 and not masks[mask, e0 + leaf]:
                            continue
                        if until[e0 + leaf] <= arrived[e0 + leaf]:
                            continue
                        insert(trees[0], m, leaf, -1, COUNT)
                        if vals < 0:
                            continue
                        v = values[vals, e0 + leaf]
                        if sums:
                            insert(trees[1], m, leaf, -v, SUM)
                        if squares:
                            h, l = product(abs(v), abs(v))
                            insert(trees[2], m, leaf, -h, SUM)
                            insert(trees[3], m, leaf, -l, SUM)
                        if smallest:
                            withdraw(trees[4], m, leaf, MIN)
                        if greatest:
                            withdraw(trees[5], m, leaf, MAX)
                        if earliest:
                            withdraw(trees[6], m, leaf, MIN)
                        if latest:
                            withdraw(trees[7], m, leaf, MAX)
                    for w in range(n_windows):
                        for k in range(4):
                            if k == 0 or (sums and k == 1) or squares:
                                states[w, k, r] = tree_sum(trees[k], m, lows[w, r], highs[w, r])
                        if smallest:
                            states[w, 4, r] = tree_min(trees[4], m, lows[w, r], highs[w, r])
                        if greatest:
                            states[w, 5, r] = tree_max(trees[5], m, lows[w, r], highs[w, r])
                        if states[w, 0, r] == 0:
                            continue
                        if earliest:
                            leaf = tree_min(trees[6], m, lows[w, r], highs[w, r])
                            states[w, 6, r] = values[vals, e0 + leaf]
                        if latest:
                            leaf = tree_max(trees[7], m, lows[w, r], highs[w, r])
                            states[w, 7, r] = values[vals, e0 + leaf]
            else:
                if mask >= 0:
                    for j in range(m):
                        prefix[0, j + 1] = prefix[0, j] + (1 if masks[mask, e0 + j] else 0)
                if sums:
                    for j in range(m):
                        inside = mask < 0 or masks[mask, e0 + j]
                        prefix[1, j + 1] = prefix[1, j] + (values[vals, e0 + j] if inside else 0)
                if squares:
                    for j in range(m):
                        v = values[vals, e0 + j] if mask < 0 or masks[mask, e0 + j] else 0
                        h, l = product(abs(v), abs(v))
                        prefix[2, j + 1] = prefix[2, j] + h
                        prefix[3, j + 1] = prefix[3, j] + l
                if smallest:
                    for j in range(m):
                        inside = mask < 0 or masks[mask, e0 + j]
                        trees[4, m + j] = values[vals, e0 + j] if inside else _HIGHEST
                    for j in range(m - 1, 0, -1):
                        trees[4, j] = min(trees[4, 2 * j], trees[4, 2 * j + 1])
                if greatest:
                    for j in range(m):
                        inside = mask < 0 or masks[mask, e0 + j]
                        trees[5, m + j] = values[vals, e0 + j] if inside else _LOWEST
                    for j in range(m - 1, 0, -1):
                        trees[5, j] = max(trees[5, 2 * j], trees[5, 2 * j + 1])
                if earliest or latest:  # the next event that takes part, and the one before
                    nearby[0, m] = m
                    for j in range(m - 1, -1, -1):
                        nearby[0, j] = j if mask < 0 or masks[mask, e0 + j] else nearby[0, j + 1]
                    nearby[1, 0] = -1
                    for j in range(m):
                        nearby[1, j + 1] = j if mask < 0 or masks[mask, e0 + j] else nearby[1, j]

                for w in range(n_windows):
                    for r in range(n_rows):
                        a = lows[w, r]
                        c = min(highs[w, r], max(a, split[r]))
                        states[w, 0, r] = c - a if mask < 0 else prefix[0, c] - prefix[0, a]
                        for k in range(1, 4):
                            states[w, k, r] = prefix[k, c] - prefix[k, a]
                    if smallest:
                        for r in range(n_rows):
                            a = lows[w, r]
                            states[w, 4, r] = tree_min(trees[4], m, a, min(highs[w, r], max(a, split[r])))
                    if greatest:
                        for r in range(n_rows):
                            a = lows[w, r]
                            states[w, 5, r] = tree_max(trees[5], m, a, min(highs[w, r], max(a, split[r])))
                    if earliest or latest:
                        for r in range(n_rows):
                            if states[w, 0, r]:
                                a = lows[w, r]
                                c = min(highs[w, r], max(a, split[r]))
                                states[w, 6, r] = values[vals, e0 + nearby[0, a]]
                                states[w, 7, r] = values[vals, e0 + nearby[1, c]]
                    if tail == 0:
                        continue
                    for r in range(n_rows):
                        for j in range(e0 + max(lows[w, r], split[r]), e0 + highs[w, r]):
                            if is_seen(arrived, until, j, known[r0 + r]) and (mask < 0 or masks[mask, j]):
                                v = values[vals, j] if vals >= 0 else 0
                                if states[w, 0, r] == 0:
                                    states[w, 6, r] = v
                                states[w, 7, r] = v
                                add(states[w], r, v, sums, squares)

            if different:
                # values are numbered, and each window counts the events of each number that are in it
                by_value = ascending(values[vals, e0 : e0 + m])
                last, n_values = 0, 0
                for i in range(m):
                    j = by_value[i]
                    codes[j] = -1
                    if mask >= 0 and not masks[mask, e0 + j]:
                        continue
                    v = values[vals, e0 + j]
                    if n_values == 0 or v != last:
                        last = v
                        n_values += 1
                    codes[j] = n_values - 1
                sketched = n_values > exact
                if sketched:
                    for j in range(m):
                        if codes[j] >= 0:
                            upper, lower_half = scramble(values[vals, e0 + j])
                            register[codes[j]] = lower_half & (n_registers - 1)
                            rank[codes[j]] = rank_of(upper)
                for w in range(n_windows):
                    if slots[lane, w, DISTINCT] < 0:
                        continue
                    left = right = number = 0
                    for r in range(n_rows):
                        a = lows[w, r]
                        c = min(highs[w, r], max(a, split[r]))
                        while right < c:
                            if codes[right] >= 0:
                                number += enter(
                                    codes[right], counts, sketched, register, rank, tally, top, hist
                                )
                            right += 1
                        while right > c:
                            right -= 1
                            if codes[right] >= 0:
                                number -= leave(
                                    codes[right], counts, sketched, register, rank, tally, top, hist
                                )
                        while left < a:
                            if codes[left] >= 0:
                                number -= leave(
                                    codes[left], counts, sketched, register, rank, tally, top, hist
                                )
                            left += 1
                        for j in range(max(a, split[r]), highs[w, r]):
                            if codes[j] >= 0 and is_seen(arrived, until, e0 + j, known[r0 + r]):
                                number += enter(codes[j], counts, sketched, register, rank, tally, top, hist)
                        states[w, 9, r] = number if number <= exact else estimate(hist, n_registers, exact)
                        for j in range(max(a, split[r]), highs[w, r]):
                            if codes[j] >= 0 and is_seen(arrived, until, e0 + j, known[r0 + r]):
                                number -= leave(codes[j], counts, sketched, register, rank, tally, top, hist)
                    for j in range(left, right):
                        if codes[j] >= 0:
                            number -= leave(codes[j], counts, sketched, register, rank, tally, top, hist)

            here = rows[r0 : r0 + n_rows]
            for w in range(n_windows):
                if slots[lane, w, SINCE] >= 0:
                    for r in range(n_rows):
                        if states[w, 0, r]:
                            states[w, 8, r] = t[r0 + r] - states[w, 5, r]
                lower(out, bits, here, slots[lane, w], scale, is_float, states[w, :, :n_rows])
    return OK, 0
