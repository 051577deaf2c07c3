"""Online kernels: put events into the blobs of entities, and read the measures of a request from blobs.

Arithmetic and lowering are those of `holdfast.features.lowering_kernels`; what stands where in a blob is told by the
arrays of `holdfast.features.tile`. The format is docs/reference/formats/state-blob.md. All of it also runs
as plain Python.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

from holdfast.features.distinct_kernels import RANKS, add_set, add_value, size_of
from holdfast.features.lowering_kernels import MAX_EVENTS, STATES, lower, product

BUILT_ON = "49c46a1d5ad42738"
"""Hash of the modules whose functions are compiled into these kernels: numba's cache looks at this file alone."""

FORMAT, HORIZON, DROPPED, EVENTS = range(4)
"""Words of a blob's header."""
HEADER, LEVEL_HEADER = 4, 3
"""Words of the header, and of each level's part of it: end of what was pruned, number of tiles, words of sets."""

OK, BROKEN = 0, -1
"""What the kernels answer beside flags."""

HEAD, PRUNED, HUGE, KEYLESS = 1, 2, 4, 8
"""Why a measure is not exact: later events lie in a tile at the window's end, or an exact window is longer than
the ring; the window begins before what is kept; it holds 2^31 events; the entity's key is too long."""

FIELDS = 9
"""What a tile may hold of a lane: n, S, Q high, Q low, least, most, first, last, the size of a set."""
FIRST, LAST, SET = 6, 7, 8
LANE, ENTRY = 3 + FIELDS, 5 + 2 * FIELDS + 12
"""Words of the programs: of a lane of a level, of a lane of a window."""
COLLECTED = 15
"""Words that a window is collected in: each field one, first and last four."""

_HIGHEST = 2**63 - 1
_LOWEST = -(2**63)

_ints = types.Array(types.int64, 1, "C", readonly=True)


@register_jitable
def is_before(a, at, b, bt, width):
    """Whether the event at a[at:] stands before that at b[bt:]: by time, then by whatever else it holds."""
    for word in range(width):
        if a[at + word] != b[bt + word]:
            return a[at + word] < b[bt + word]
    return False


@register_jitable
def first_from(a, at, width, n, bound):
    """How many of n records of a[at:], ordered by their first word, have it below a bound."""
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if a[at + middle * width] < bound:
            low = middle + 1
        else:
            high = middle
    return low


@register_jitable
def comes_later(a, at, b, bt):
    """Whether what stands at a[at:] comes later in the order of event time, arrival, tie and value."""
    for word in range(4):
        if a[at + word] != b[bt + word]:
            return a[at + word] > b[bt + word]
    return False


@register_jitable
def take(out, at, fields, f, v, a, event, sets, set_at, exact, spare):
    """Add the value v of the event at a[event:] to out[at:].

    n, S, Q high, Q low, least and most stand at fields[f:], the first and the last in four words each, the
    size of the set at sets[set_at:].
    """
    if fields[f] >= 0:
        out[at + fields[f]] += 1
    if fields[f + 1] >= 0:
        out[at + fields[f + 1]] += v
    if fields[f + 2] >= 0:
        h, l = product(abs(v), abs(v))
        out[at + fields[f + 2]] += h
        out[at + fields[f + 3]] += l
    if fields[f + 4] >= 0:
        out[at + fields[f + 4]] = min(out[at + fields[f + 4]], v)
    if fields[f + 5] >= 0:
        out[at + fields[f + 5]] = max(out[at + fields[f + 5]], v)
    for end in range(FIRST, LAST + 1):
        if fields[f + end] >= 0:
            place = at + fields[f + end]
            time, arrived, tie = a[event], a[event + 1], a[event + 2]
            sooner = time < out[place]
            if time == out[place]:
                sooner = arrived < out[place + 1]
                if arrived == out[place + 1]:
                    sooner = tie < out[place + 2]
                    if tie == out[place + 2]:
                        if v == out[place + 3]:
                            continue
                        sooner = v < out[place + 3]
            if sooner == (end == FIRST):
                out[place] = time
                out[place + 1] = arrived
                out[place + 2] = tie
                out[place + 3] = v
    if fields[f + SET] >= 0:
        place = at + fields[f + SET]
        out[place] = add_value(sets, set_at, out[place], v, exact, spare)


@register_jitable
def into_tile(out, tile, width, program, p, lanes, n_sets, a, event, sets, exact, spare):
    """Add the event at a[event:] to the tile at out[tile:], whose sets stand at sets[0:], `exact` words each."""
    for _ in range(lanes):
        word = program[p]
        if word < 0 or (a[event + word] >> program[p + 1]) & 1:
            v = a[event + program[p + 2]] if program[p + 2] >= 0 else 0
            set_at = exact * (program[p + 3 + SET] - width + n_sets)
            take(out, tile, program, p + 3, v, a, event, sets, set_at, exact, spare)
        p += LANE


@register_jitable
def words_of(n, exact):
    """Words of a set of n values, or of one that is registers."""
    return exact if n < 0 else n


@njit(
    types.Tuple((types.int64, types.int64[::1], types.int64[::1]))(_ints, _ints, _ints, _ints, _ints, _ints),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def apply_groups(program, blobs, blob_start, events, horizon, start):
    """Blobs of entities after their events.

    Group g has the blob blobs[blob_start[g]:blob_start[g + 1]] (none: no events before) and the events
    [start[g], start[g + 1]), at least one, ordered as `is_before` says. `events` are flat records; `horizon`
    (m,) is up to where each of them lets the entity's time move.

    Returns (OK or BROKEN, blobs, where each begins and the last ends). A blob depends on the multiset of all
    events ever applied, not on their order or on how they were cut into calls: the ring holds the greatest of
    them, as many as `keep` says of the multiset, tiles the others, and pruning follows the horizon, which only
    grows. O(events + words of the blobs).
    """
    width, least, most, raw = program[1], program[2], program[3], program[4]
    exact, n_levels = program[5], program[6]
    groups = start.size - 1
    per_event = width
    most_sets = 0
    p = 7
    for _ in range(n_levels):
        per_event += program[p + 2] + program[p + 4]
        most_sets = max(most_sets, program[p + 4])
        p += 5 + LANE * program[p + 3]
    head = HEADER + LEVEL_HEADER * n_levels
    m = start[groups]
    widest = longest = 0
    for g in range(groups):
        old = blob_start[g + 1] - blob_start[g]
        widest = max(widest, start[g + 1] - start[g] + old // width)
        longest = max(longest, old + most_sets * (start[g + 1] - start[g] + old // width))
    sets = np.empty(most_sets * exact, np.int64)  # of the tile that is being made
    behind = np.empty(longest if most_sets else 0, np.int64)  # those of the tiles before it
    spare = np.empty(exact, np.int64)
    # an event of an old ring may become a tile of every level, and a value of its sets
    out = np.empty(groups * head + blobs.size * (1 + per_event // width) + m * per_event, np.int64)
    out_start = np.zeros(groups + 1, np.int64)
    leaving = np.empty(widest, np.int64)  # position in the old ring, or -1 - position among the new events

    o = 0
    for g in range(groups):
        b, size = blob_start[g], blob_start[g + 1] - blob_start[g]
        e0, new = start[g], start[g + 1] - start[g]
        time, dropped, kept = _LOWEST, _LOWEST, 0
        if size:
            if size < head or blobs[b + FORMAT] != program[0]:
                return BROKEN, out[:0], out_start
            time, dropped, kept = blobs[b + HORIZON], blobs[b + DROPPED], blobs[b + EVENTS]
            if kept < 0 or kept > size // width:
                return BROKEN, out[:0], out_start
        ring = b + head
        for e in range(e0, e0 + new):
            time = max(time, horizon[e])

        # how many events stay as they are
        recent = 0
        for i in range(kept):
            recent += blobs[ring + i * width] >= time - raw
        for e in range(e0, e0 + new):
            recent += events[e * width] >= time - raw
        total = kept + new
        keep = min(total, max(least, min(most, recent)))

        # merge the ring and the new events; the first ones leave
        out[o + FORMAT] = program[0]
        out[o + HORIZON] = time
        out[o + EVENTS] = keep
        n_leaving = total - keep
        i, j = 0, 0
        w = o + head
        for k in range(total):
            from_ring = j >= new or (
                i < kept and not is_before(events, (e0 + j) * width, blobs, ring + i * width, width)
            )
            if k < n_leaving:
                leaving[k] = i if from_ring else -1 - (e0 + j)
                dropped = max(dropped, blobs[ring + i * width] if from_ring else events[(e0 + j) * width])
            elif from_ring:
                for word in range(width):
                    out[w + word] = blobs[ring + i * width + word]
                w += width
            else:
                for word in range(width):
                    out[w + word] = events[(e0 + j) * width + word]
                w += width
            if from_ring:
                i += 1
            else:
                j += 1
        out[o + DROPPED] = dropped

        # those that leave become part of tiles
        p = 7
        old = ring + kept * width
        for level in range(n_levels):
            hop, reach, tile_width, lanes = program[p], program[p + 1], program[p + 2], program[p + 3]
            n_sets = program[p + 4]
            p += 5
            pruned, tiles, set_words = _LOWEST, 0, 0
            if size:
                pruned = blobs[b + HEADER + LEVEL_HEADER * level]
                tiles = blobs[b + HEADER + LEVEL_HEADER * level + 1]
                set_words = blobs[b + HEADER + LEVEL_HEADER * level + 2]
                if tiles < 0 or set_words < 0 or tiles > size or set_words > size:
                    return BROKEN, out[:0], out_start
                if old + tiles * tile_width + set_words > b + size:
                    return BROKEN, out[:0], out_start
            old_set = old + tiles * tile_width
            old_end = old_set + set_words
            first = (time - reach) // hop - 1
            written = 0
            filled = 0
            x, d = 0, 0
            while x < tiles or d < n_leaving:
                index = blobs[old + x * tile_width] if x < tiles else _HIGHEST
                had = x < tiles
                if d < n_leaving:
                    at = leaving[d]
                    one = (blobs[ring + at * width] if at >= 0 else events[(-1 - at) * width]) // hop
                    if one < index:
                        index = one
                        had = False
                if had:
                    for word in range(tile_width):
                        out[w + word] = blobs[old + x * tile_width + word]
                    for s in range(n_sets):
                        held = words_of(out[w + tile_width - n_sets + s], exact)
                        if held > exact or old_set + held > old_end:
                            return BROKEN, out[:0], out_start
                        for word in range(held):
                            sets[s * exact + word] = blobs[old_set + word]
                        old_set += held
                    x += 1
                else:
                    for word in range(tile_width):
                        out[w + word] = 0
                    out[w] = index
                    q = p
                    for _ in range(lanes):
                        if program[q + 7] >= 0:
                            out[w + program[q + 7]] = _HIGHEST
                        if program[q + 8] >= 0:
                            out[w + program[q + 8]] = _LOWEST
                        for word in range(4):
                            if program[q + 3 + FIRST] >= 0:
                                out[w + program[q + 3 + FIRST] + word] = _HIGHEST
                            if program[q + 3 + LAST] >= 0:
                                out[w + program[q + 3 + LAST] + word] = _LOWEST
                        q += LANE
                while d < n_leaving:
                    at = leaving[d]
                    if at >= 0:
                        if blobs[ring + at * width] // hop != index:
                            break
                        into_tile(
                            out,
                            w,
                            tile_width,
                            program,
                            p,
                            lanes,
                            n_sets,
                            blobs,
                            ring + at * width,
                            sets,
                            exact,
                            spare,
                        )
                    else:
                        if events[(-1 - at) * width] // hop != index:
                            break
                        into_tile(
                            out,
                            w,
                            tile_width,
                            program,
                            p,
                            lanes,
                            n_sets,
                            events,
                            (-1 - at) * width,
                            sets,
                            exact,
                            spare,
                        )
                    d += 1
                if index < first:
                    pruned = max(pruned, (index + 1) * hop)
                else:
                    for s in range(n_sets):
                        for word in range(words_of(out[w + tile_width - n_sets + s], exact)):
                            behind[filled] = sets[s * exact + word]
                            filled += 1
                    w += tile_width
                    written += 1
            if old_set != old_end:
                return BROKEN, out[:0], out_start
            for word in range(filled):
                out[w + word] = behind[word]
            w += filled
            out[o + HEADER + LEVEL_HEADER * level] = pruned
            out[o + HEADER + LEVEL_HEADER * level + 1] = written
            out[o + HEADER + LEVEL_HEADER * level + 2] = filled
            old = old_end
            p += LANE * lanes
        if size and old != b + size:
            return BROKEN, out[:0], out_start
        o = w
        out_start[g + 1] = o
    return OK, out[:o], out_start


@njit(
    types.int64(_ints, _ints, types.int64, types.float64[::1], types.uint8[::1]),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def read_blobs(program, blobs, t, out, flags):
    """All measures of one request from the blobs of its views, one after the other.

    `out` (K,) comes filled with the values of empty windows, `flags` (K,) with zeros. Returns all flags
    together, or BROKEN.

    A window is its tiles and its events of the ring. Tiles hold only events up to the time `DROPPED`, so a
    window that begins after it needs none of them, and where t lies after it, no tile holds an event too many.
    """
    registers = out.reshape((out.size, 1))
    bits = registers.view(np.int64)
    rows = np.zeros(1, np.int64)
    states = np.empty((STATES, 1), np.int64)
    state = np.empty(COLLECTED, np.int64)
    n_spare = 0
    sets = np.empty(0, np.int64)
    spare = np.empty(0, np.int64)
    ranks = np.empty(RANKS, np.int64)
    together = 0
    base = 0
    p = 1
    for _ in range(program[0]):
        format_word, width, exact, n_levels = program[p], program[p + 1], program[p + 2], program[p + 3]
        head = HEADER + LEVEL_HEADER * n_levels
        if base + head > blobs.size or blobs[base + FORMAT] != format_word:
            return BROKEN
        dropped, kept = blobs[base + DROPPED], blobs[base + EVENTS]
        ring = base + head
        if kept < 0 or kept > (blobs.size - ring) // width:
            return BROKEN
        levels = p + 4
        end = ring + kept * width
        for level in range(n_levels):
            tiles = blobs[base + HEADER + LEVEL_HEADER * level + 1]
            if tiles < 0 or tiles > (blobs.size - end) // program[levels + 3 * level + 1]:
                return BROKEN
            end += tiles * program[levels + 3 * level + 1]
            set_words = blobs[base + HEADER + LEVEL_HEADER * level + 2]
            if set_words < 0 or set_words > blobs.size - end:
                return BROKEN
            end += set_words

        p = levels + 3 * n_levels
        n_windows = program[p]
        p += 1
        for _ in range(n_windows):
            over, offset, hop, level, entries = (
                program[p], program[p + 1], program[p + 2], program[p + 3], program[p + 4],
            )  # fmt: skip
            p += 5
            high = t - offset
            low = high - over
            if hop:
                low = low // hop * hop
                if offset > 0:
                    high = high // hop * hop
            a = first_from(blobs, ring, width, kept, low)
            b = max(a, first_from(blobs, ring, width, kept, high))
            flag = 0
            tile_width, n_sets, x, y, first, first_set = 1, 0, 0, 0, 0, 0
            if dropped >= low and high > low:
                if hop == 0:
                    flag = HEAD
                else:
                    first = ring + kept * width
                    for k in range(level):
                        first += blobs[base + HEADER + LEVEL_HEADER * k + 1] * program[levels + 3 * k + 1]
                        first += blobs[base + HEADER + LEVEL_HEADER * k + 2]
                    tiles = blobs[base + HEADER + LEVEL_HEADER * level + 1]
                    tile_width, n_sets = program[levels + 3 * level + 1], program[levels + 3 * level + 2]
                    first_set = first + tiles * tile_width
                    x = first_from(blobs, first, tile_width, tiles, low // hop)
                    y = max(x, first_from(blobs, first, tile_width, tiles, -(-high // hop)))
                    if dropped >= high and y > x:
                        if (blobs[first + (y - 1) * tile_width] + 1) * hop > high:
                            flag = HEAD
                    if low < blobs[base + HEADER + LEVEL_HEADER * level]:
                        flag |= PRUNED
                    for tile in range(first, first + x * tile_width, tile_width):
                        for word in range(tile_width - n_sets, tile_width):
                            if blobs[tile + word] > exact:
                                return BROKEN
                            first_set += words_of(blobs[tile + word], exact)

            for _ in range(entries):
                word, shift, value = program[p], program[p + 1], program[p + 2]
                scale, is_float = program[p + 3], program[p + 4] != 0
                state[:4] = 0
                state[4] = _HIGHEST
                state[5] = _LOWEST
                state[6:10] = _HIGHEST
                state[10:14] = _LOWEST
                state[14] = 0
                needs = p + 5 + FIELDS
                if program[needs + SET] >= 0 and n_spare < exact:
                    n_spare = exact
                    sets = np.empty(exact, np.int64)
                    spare = np.empty(exact, np.int64)
                set_at = first_set
                for k in range(x, y):
                    tile = first + k * tile_width
                    for f in range(4):
                        if program[needs + f] >= 0:
                            state[f] += blobs[tile + program[p + 5 + f]]
                    if program[needs + 4] >= 0:
                        state[4] = min(state[4], blobs[tile + program[p + 9]])
                    if program[needs + 5] >= 0:
                        state[5] = max(state[5], blobs[tile + program[p + 10]])
                    if program[needs + FIRST] >= 0:
                        if comes_later(state, 6, blobs, tile + program[p + 5 + FIRST]):
                            state[6:10] = blobs[
                                tile + program[p + 5 + FIRST] : tile + program[p + 5 + FIRST] + 4
                            ]
                    if program[needs + LAST] >= 0:
                        if comes_later(blobs, tile + program[p + 5 + LAST], state, 10):
                            state[10:14] = blobs[
                                tile + program[p + 5 + LAST] : tile + program[p + 5 + LAST] + 4
                            ]
                    if program[needs + SET] >= 0:
                        for word_of_set in range(tile_width - n_sets, tile_width):
                            held = blobs[tile + word_of_set]
                            if held > exact or set_at + words_of(held, exact) > end:
                                return BROKEN
                            if word_of_set == program[p + 5 + SET]:
                                state[14] = add_set(sets, 0, state[14], blobs, set_at, held, exact, spare)
                            set_at += words_of(held, exact)
                if word < 0 and value < 0:
                    state[0] += b - a
                else:
                    for event in range(ring + a * width, ring + b * width, width):
                        if word < 0 or (blobs[event + word] >> shift) & 1:
                            v = blobs[event + value] if value >= 0 else 0
                            take(state, 0, program, needs, v, blobs, event, sets, 0, exact, spare)
                states[:6, 0] = state[:6]
                states[6, 0] = state[9]
                states[7, 0] = state[13]
                if state[0] and program[needs + 5] >= 0:
                    states[8, 0] = t - state[5]
                states[9, 0] = size_of(sets, 0, state[14], exact, ranks)
                slots = program[needs + FIELDS : p + ENTRY]
                marked = flag
                if state[0] >= MAX_EVENTS:
                    marked |= HUGE
                else:
                    lower(registers, bits, rows, slots, scale, is_float, states)
                if marked:
                    together |= marked
                    for k in range(slots.size):
                        if slots[k] >= 0:
                            flags[slots[k]] |= marked
                p += ENTRY
        base = end
    return together if base == blobs.size else BROKEN
