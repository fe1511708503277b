"""SEG-Y files written byte by byte, as the standard describes them, for tests of the reader and the writer."""

import numpy as np

TYPES = {1: "u4", 2: "i4", 3: "i2", 5: "f4", 8: "i1"}


def ibm(values):
    """Bits of numbers in IBM's floating point, by its definition: sign, 16^(exponent - 64), 24 bits of fraction."""
    fraction, twos = np.frexp(np.abs(np.asarray(values, np.float64)))
    exponent = -(-twos // 4)
    bits = (fraction * 2.0 ** (24 + twos - 4 * exponent)).astype(np.uint32)
    sign = (np.asarray(values) < 0).astype(np.uint32)
    return np.where(bits == 0, 0, (sign << 31) | ((exponent + 64).astype(np.uint32) << 24) | bits)


def amplitudes(count, samples, seed=0, largest=100):
    """Whole numbers of both signs, which every format holds; smooth along a trace, as amplitudes are."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count, samples + 4))
    smooth = sum(noise[:, k : k + samples] for k in range(5))
    return np.clip(np.rint(smooth * largest / 8), -largest, largest)


def put(raw, place, value, kind, order):
    raw[place - 1 : place - 1 + np.dtype(kind).itemsize] = np.array(value, order + kind).tobytes()


def text_header(lines=(), ascii_text=False):
    lines = [f"C{k + 1:2d} {lines[k] if k < len(lines) else '':<76}"[:80] for k in range(40)]
    return "".join(lines).encode("latin-1" if ascii_text else "cp037")


def write_segy(
    path,
    values,
    words,
    *,
    code=5,
    little=False,
    interval=4000,
    revision=(1, 0),
    text=("a survey",),
    ascii_text=False,
    extended=(),
    declared_extended=None,
    extra=0,
    trailer=0,
    delay=0,
    binary=(),
    seed=1,
):
    """Write traces; `words` are their header words by first byte, 4 bytes each; other header bytes are noise.

    Returns:
        the trace headers, (trace, 240 + 240 x extra), uint8.
    """
    values = np.asarray(values)
    count, samples = values.shape
    order = "<" if little else ">"
    head = bytearray(400)
    for place, value, kind in (
        *((3217, interval, "u2"), (3221, samples, "u2"), (3225, code, "i2"), (3503, 1, "i2")),
        (3501, revision[0] * 256 + revision[1], "u2"),
        (3505, len(extended) if declared_extended is None else declared_extended, "i2"),
        *(((3507, extra, "i2"), (3529, trailer, "i4")) if revision[0] >= 2 else ()),
        *binary,
    ):
        put(head, place - 3200, value, kind, order)
    rng = np.random.default_rng(seed)
    headers = np.zeros((count, 240 * (1 + extra)), np.uint8)
    headers[:, 200:] = rng.integers(0, 256, (count, 240 * (1 + extra) - 200))
    headers[:, 118:180] = rng.integers(0, 256, (count, 62))
    stored = ibm(values) if code == 1 else values
    stored = np.asarray(stored).astype(order + TYPES[code])
    with open(path, "wb") as file:
        file.write(text_header(text, ascii_text))
        file.write(head)
        for one in extended:
            file.write(one)
        for k in range(count):
            raw = bytearray(headers[k].tobytes())
            put(raw, 29, 1, "i2", order)
            put(raw, 109, delay, "i2", order)
            put(raw, 115, samples, "u2", order)
            put(raw, 117, interval, "u2", order)
            for place, numbers in words.items():
                put(raw, place, int(numbers[k]), "i2" if place == 29 else "i4", order)
            headers[k] = np.frombuffer(raw, np.uint8)
            file.write(raw)
            file.write(stored[k].tobytes())
        file.write(bytes(range(200)) * 16 * trailer)
    return headers


def grid_words(inlines, crosslines, *, pair=(189, 193)):
    """Words of a full grid, inline after inline."""
    numbers = np.array([(i, x) for i in inlines for x in crosslines])
    return {pair[0]: numbers[:, 0], pair[1]: numbers[:, 1]}


def keep(words, values, chosen):
    """Words and values of the chosen traces."""
    return {place: numbers[chosen] for place, numbers in words.items()}, values[chosen]
