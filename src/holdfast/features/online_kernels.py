"""Online kernels: put events into the blobs of entities, and read the measures of a request from blobs.

Arithmetic and lowering are those of `holdfast.features.kernels`; what stands where in a blob is told by the
arrays of `holdfast.features.tile`. The format is docs/reference/formats/state-blob.md. All of it also runs
as plain Python.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import register_jitable

from holdfast.features.kernels import MAX_EVENTS, lower, product

FORMAT, HORIZON, DROPPED, EVENTS = range(4)
"""Words of a blob's header."""
HEADER, LEVEL_HEADER = 4, 2
"""Words of the header, and of each level's part of it: end of what was pruned, number of tiles."""

OK, BROKEN = 0, -1
"""What the kernels answer beside flags."""

HEAD, PRUNED, HUGE, KEYLESS = 1, 2, 4, 8
"""Why a measure is not exact: later events lie in a tile at the window's end, or an exact window is longer than
the ring; the window begins before what is kept; it holds 2^31 events; the entity's key is too long."""

LANE, ENTRY = 9, 23
"""Words of the programs: of a lane of a level, of a lane of a window."""

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
def take(out, at, fields, f, v):
    """Add one event's value to out[at:], where n, S, Q high, Q low, least and most stand at fields[f:]."""
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


@register_jitable
def into_tile(out, tile, program, p, lanes, a, at):
    """Add the event at a[at:] to the tile at out[tile:]."""
    for _ in range(lanes):
        word = program[p]
        if word < 0 or (a[at + word] >> program[p + 1]) & 1:
            take(out, tile, program, p + 3, a[at + program[p + 2]] if program[p + 2] >= 0 else 0)
        p += LANE


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
    width, least, most, raw, n_levels = program[1], program[2], program[3], program[4], program[5]
    groups = start.size - 1
    per_event = width
    p = 6
    for _ in range(n_levels):
        per_event += program[p + 2]
        p += 4 + LANE * program[p + 3]
    head = HEADER + LEVEL_HEADER * n_levels
    m = start[groups]
    widest = 0
    for g in range(groups):
        old = blob_start[g + 1] - blob_start[g]
        widest = max(widest, start[g + 1] - start[g] + old // width)
    # an event of an old ring may become a tile of every level
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
        p = 6
        old = ring + kept * width
        for level in range(n_levels):
            hop, reach, tile_width, lanes = program[p], program[p + 1], program[p + 2], program[p + 3]
            p += 4
            pruned, tiles = _LOWEST, 0
            if size:
                pruned = blobs[b + HEADER + LEVEL_HEADER * level]
                tiles = blobs[b + HEADER + LEVEL_HEADER * level + 1]
                if tiles < 0 or old + tiles * tile_width > b + size:
                    return BROKEN, out[:0], out_start
            first = (time - reach) // hop - 1
            written = 0
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
                        q += LANE
                while d < n_leaving:
                    at = leaving[d]
                    if at >= 0:
                        if blobs[ring + at * width] // hop != index:
                            break
                        into_tile(out, w, program, p, lanes, blobs, ring + at * width)
                    else:
                        if events[(-1 - at) * width] // hop != index:
                            break
                        into_tile(out, w, program, p, lanes, events, (-1 - at) * width)
                    d += 1
                if index < first:
                    pruned = max(pruned, (index + 1) * hop)
                else:
                    w += tile_width
                    written += 1
            out[o + HEADER + LEVEL_HEADER * level] = pruned
            out[o + HEADER + LEVEL_HEADER * level + 1] = written
            old += tiles * tile_width
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
    states = np.empty((6, 1), np.int64)
    state = states.reshape(6)
    together = 0
    base = 0
    p = 1
    for _ in range(program[0]):
        format_word, width, n_levels = program[p], program[p + 1], program[p + 2]
        head = HEADER + LEVEL_HEADER * n_levels
        if base + head > blobs.size or blobs[base + FORMAT] != format_word:
            return BROKEN
        dropped, kept = blobs[base + DROPPED], blobs[base + EVENTS]
        ring = base + head
        if kept < 0 or kept > (blobs.size - ring) // width:
            return BROKEN
        levels = p + 3
        end = ring + kept * width
        for level in range(n_levels):
            tiles = blobs[base + HEADER + LEVEL_HEADER * level + 1]
            if tiles < 0 or tiles > (blobs.size - end) // program[levels + 2 * level + 1]:
                return BROKEN
            end += tiles * program[levels + 2 * level + 1]

        p = levels + 2 * n_levels
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
                if offset:
                    high = high // hop * hop
            a = first_from(blobs, ring, width, kept, low)
            b = max(a, first_from(blobs, ring, width, kept, high))
            flag = 0
            tile_width, x, y, first = 1, 0, 0, 0
            if dropped >= low and high > low:
                if hop == 0:
                    flag = HEAD
                else:
                    first = ring + kept * width
                    for k in range(level):
                        first += blobs[base + HEADER + LEVEL_HEADER * k + 1] * program[levels + 2 * k + 1]
                    tiles = blobs[base + HEADER + LEVEL_HEADER * level + 1]
                    tile_width = program[levels + 2 * level + 1]
                    x = first_from(blobs, first, tile_width, tiles, low // hop)
                    y = max(x, first_from(blobs, first, tile_width, tiles, -(-high // hop)))
                    if dropped >= high and y > x:
                        if (blobs[first + (y - 1) * tile_width] + 1) * hop > high:
                            flag = HEAD
                    if low < blobs[base + HEADER + LEVEL_HEADER * level]:
                        flag |= PRUNED

            for _ in range(entries):
                word, shift, value = program[p], program[p + 1], program[p + 2]
                scale, is_float = program[p + 3], program[p + 4] != 0
                state[:4] = 0
                state[4] = _HIGHEST
                state[5] = _LOWEST
                for k in range(x, y):
                    tile = first + k * tile_width
                    for f in range(4):
                        if program[p + 11 + f] >= 0:
                            state[f] += blobs[tile + program[p + 5 + f]]
                    if program[p + 15] >= 0:
                        state[4] = min(state[4], blobs[tile + program[p + 9]])
                    if program[p + 16] >= 0:
                        state[5] = max(state[5], blobs[tile + program[p + 10]])
                if word < 0:
                    state[0] += b - a
                else:
                    for event in range(ring + a * width, ring + b * width, width):
                        if (blobs[event + word] >> shift) & 1:
                            take(state, 0, program, p + 11, blobs[event + value] if value >= 0 else 0)
                slots = program[p + 17 : p + ENTRY]
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
