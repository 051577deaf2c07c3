"""The register interpreter of expressions, compiled by numba: arrays of operations over blocks of rows.

One function serves one row and millions, so a value has one machine code. `holdfast.kernel.program` writes
the operations; what each of them means is said in `holdfast.kernel.expr.OPS`.

Registers are float64, finite or NaN: missing. Which NaN is the compiler's choice, so the bits are made the
same where values leave. A step is five words:
``(operation, target, a, b, c)``, where a, b, c are registers unless said otherwise below. The target of a
step is never one of its operands, so the loops need no check for overlap and use vector instructions; every
operation used is exactly rounded or a scalar call of the C library, so the width of a vector changes no bit.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types

BLOCK = 256
"""Rows per block: 50 registers then fit the second-level cache."""

MISSING = math.nan
GREATEST = 1.7976931348623157e308
EXP_LIMIT = 709.782712893384  # the greatest double whose exponential is finite

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
FIRST_US = -62_135_596_800_000_000  # 0001-01-01
LAST_US = 253_402_300_799_999_999  # the last microsecond of the year 9999
CYCLE_US = 146_097 * DAY_US  # 400 years: the calendar, week days included, repeats

# fmt: off
(LOAD, ADD, SUB, MUL, DIV, NEG, ABS, LOG, EXP, SQRT, CLIP, LT, LE, GT, GE, EQ, NE, AND, OR, NOT, WHERE,
 IS_MISSING, FILL, ISIN, HOUR, WEEKDAY, DAY, MONTH, CODE) = range(29)
# fmt: on

HEADER = 5
STEP = 5

# Arrays that may be written are accepted where read-only ones are asked for, so this is the only variant.
CODE_ARRAY = types.Array(types.int64, 1, "C", readonly=True)
NUMBERS = types.Array(types.float64, 1, "C", readonly=True)
ROWS_IN = types.Array(types.float64, 2, "C", readonly=True)
ROWS_OUT = types.Array(types.float64, 2, "C")

OPTIONS = {"cache": True, "error_model": "numpy", "nogil": True}


@njit(types.float64(types.int64, types.float64, types.int64, CODE_ARRAY), **OPTIONS)
def date_part(part, value, zone, zones):
    """HOUR, WEEKDAY, DAY or MONTH of microseconds UTC; missing outside the years 1 to 9999 (here or there).

    `zone` is -1 for UTC, else where a zone begins in `zones`: n, the period's start, n transitions
    (ascending, microseconds UTC), n + 1 offsets. From the period's start on, 400 years repeat.
    """
    if not (FIRST_US <= value <= LAST_US):
        return MISSING
    moment = int(math.floor(value))
    if moment > LAST_US:  # the double nearest to the last microsecond is the next year
        return MISSING
    if zone >= 0:
        count = zones[zone]
        period = zones[zone + 1]
        first = zone + 2
        key = moment
        if key >= period:
            key = period + (key - period) % CYCLE_US
        low = 0
        high = count
        while low < high:
            middle = (low + high) // 2
            if zones[first + middle] <= key:
                low = middle + 1
            else:
                high = middle
        moment = moment + zones[first + count + low]
        if moment < FIRST_US or moment > LAST_US:
            return MISSING
    days = moment // DAY_US
    if part == HOUR:
        return float((moment - days * DAY_US) // HOUR_US)
    if part == WEEKDAY:
        return float((days + 3) % 7)
    # Days of the era that begins on 1 March 0000, so that a leap day ends its year.
    # Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2021, section civil_from_days.
    day_of_era = (days + 719_468) % 146_097
    year = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    if part == DAY:
        return float(day_of_year - (153 * month + 2) // 5 + 1)
    return float(month + 3 if month < 10 else month - 9)


@njit(types.float64(types.float64, NUMBERS, types.int64, types.int64), **OPTIONS)
def is_among(value, numbers, low, high):
    """1.0 if the value is one of ``numbers[low:high]`` (ascending), else 0.0; missing if missing."""
    if value != value:
        return MISSING
    end = high
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] < value:
            low = middle + 1
        else:
            high = middle
    return 1.0 if low < end and numbers[low] == value else 0.0


@njit(types.void(CODE_ARRAY, ROWS_IN, ROWS_OUT), **OPTIONS)
def interpret(program, inputs, outputs):
    """Run a program on all rows, block by block.

    Parameters
    ----------
    program
        All in one array, since each argument costs a one-row call a quarter of a microsecond:
        the header (number of registers, constants, numbers, outputs, steps), the numbers as the bits of
        float64 (the constants, which fill the first registers, then the sorted lists of `isin`), the
        register of each output, the steps (5 words each), the zones (see `date_part`).
    inputs : (n_inputs, n_rows)
    outputs : (n_rows, n_outputs), written
    """
    n_constants = program[1]
    first_number = HEADER
    first_output = first_number + program[2]
    n_outputs = program[3]
    first_step = first_output + n_outputs
    end = first_step + program[4] * STEP
    numbers = program[first_number:first_output].view(np.float64)
    n_rows = inputs.shape[1]
    block = max(1, min(BLOCK, n_rows))
    registers = np.empty((program[0], block), np.float64)
    for k in range(n_constants):
        for i in range(block):
            registers[k, i] = numbers[k]
    for start in range(0, n_rows, block):
        n = min(block, n_rows - start)
        for s in range(first_step, end, STEP):
            op = program[s]
            t = program[s + 1]
            a = program[s + 2]
            b = program[s + 3]
            c = program[s + 4]
            if op == LOAD:  # a: row of `inputs`
                for i in range(n):
                    x = inputs[a, start + i]
                    registers[t, i] = x if abs(x) <= GREATEST else MISSING
            elif op == ADD:
                for i in range(n):
                    r = registers[a, i] + registers[b, i]
                    registers[t, i] = r if abs(r) <= GREATEST else MISSING
            elif op == SUB:
                for i in range(n):
                    r = registers[a, i] - registers[b, i]
                    registers[t, i] = r if abs(r) <= GREATEST else MISSING
            elif op == MUL:
                for i in range(n):
                    r = registers[a, i] * registers[b, i]
                    registers[t, i] = r if abs(r) <= GREATEST else MISSING
            elif op == DIV:
                for i in range(n):
                    r = registers[a, i] / registers[b, i]
                    registers[t, i] = r if abs(r) <= GREATEST else MISSING
            elif op == NEG:
                for i in range(n):
                    registers[t, i] = -registers[a, i]
            elif op == ABS:
                for i in range(n):
                    registers[t, i] = abs(registers[a, i])
            elif op == LOG:
                for i in range(n):
                    x = registers[a, i]
                    registers[t, i] = math.log(x) if x > 0.0 else MISSING
            elif op == EXP:
                for i in range(n):
                    x = registers[a, i]
                    registers[t, i] = math.exp(x) if x <= EXP_LIMIT else MISSING
            elif op == SQRT:
                for i in range(n):
                    x = registers[a, i]
                    registers[t, i] = math.sqrt(x) if x >= 0.0 else MISSING
            elif op == CLIP:  # b and c: registers of constants, infinite where there is no limit
                for i in range(n):
                    x = registers[a, i]
                    low = registers[b, i]
                    high = registers[c, i]
                    r = low if x < low else x
                    registers[t, i] = high if r > high else r
            elif op == LT:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    r = 1.0 if x < y else 0.0
                    registers[t, i] = r if x == x and y == y else MISSING
            elif op == LE:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    r = 1.0 if x <= y else 0.0
                    registers[t, i] = r if x == x and y == y else MISSING
            elif op == GT:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    r = 1.0 if x > y else 0.0
                    registers[t, i] = r if x == x and y == y else MISSING
            elif op == GE:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    r = 1.0 if x >= y else 0.0
                    registers[t, i] = r if x == x and y == y else MISSING
            elif op == EQ:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    r = 1.0 if x == y else 0.0
                    registers[t, i] = r if x == x and y == y else MISSING
            elif op == NE:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    r = 1.0 if x != y else 0.0
                    registers[t, i] = r if x == x and y == y else MISSING
            elif op == AND:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    r = 1.0 if x == x and y == y else MISSING
                    registers[t, i] = 0.0 if x == 0.0 or y == 0.0 else r
            elif op == OR:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    r = 0.0 if x == 0.0 and y == 0.0 else MISSING
                    registers[t, i] = 1.0 if abs(x) > 0.0 or abs(y) > 0.0 else r
            elif op == NOT:
                for i in range(n):
                    x = registers[a, i]
                    r = 1.0 if x == 0.0 else 0.0
                    registers[t, i] = r if x == x else MISSING
            elif op == WHERE:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    z = registers[c, i]
                    r = z if x == 0.0 else y
                    registers[t, i] = r if x == x else MISSING
            elif op == IS_MISSING:
                for i in range(n):
                    x = registers[a, i]
                    registers[t, i] = 1.0 if x != x else 0.0
            elif op == FILL:
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    registers[t, i] = x if x == x else y
            elif op == ISIN:  # b and c: range of `numbers`
                for i in range(n):
                    registers[t, i] = is_among(registers[a, i], numbers, b, c)
            elif op == CODE:  # b: register of the size of the vocabulary; greater codes are other texts
                for i in range(n):
                    x = registers[a, i]
                    y = registers[b, i]
                    registers[t, i] = 0.0 if x > y else x
            else:  # date parts; b: where the zone begins in `program`, or -1
                for i in range(n):
                    registers[t, i] = date_part(op, registers[a, i], b, program)
        for k in range(n_outputs):
            source = program[first_output + k]
            for i in range(n):
                x = registers[source, i]
                outputs[start + i, k] = x if x == x else MISSING
