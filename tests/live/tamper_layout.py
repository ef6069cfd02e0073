# SPDX-License-Identifier: Apache-2.0
"""Where things lie in a lower file of format 1 (encfs/volume/FORMAT.md), written down a second time.

Not shared with the program on purpose: a slip in its geometry must not be repeated here.
"""

HEADER = 64
BLOCK = 4096
PITCH = 4160
PAGE = 4096
OVERHEAD = 32  # nonce 12, word 4, tag 16

# name -> (offset, size) in the 64-byte header
HEADER_FIELDS = {
    "magic": (0, 4), "version": (4, 1), "cipher": (5, 1), "flags": (6, 2), "generation": (8, 4),
    "epoch": (12, 4), "length": (16, 8), "file id": (24, 16), "cut": (40, 4), "reserved": (44, 4),
    "MAC": (48, 16),
}


def fragments(block):
    """The two (lower offset, lower size) of a block: cut where a lower page ends."""
    start = HEADER + PITCH * block
    boundary = (start // PAGE + 1) * PAGE
    return [(start, boundary - start), (boundary, start + PITCH - boundary)]


def fragment_parts(offset, size):
    """name -> (offset, size) of the parts of a fragment."""
    return {"nonce": (offset, 12), "word": (offset + 12, 4),
            "ciphertext": (offset + 16, size - OVERHEAD), "tag": (offset + size - 16, 16)}


def used_fragments(length):
    """(lower offset, lower size, block) of every fragment of a file of that many bytes."""
    found = []
    plain = 0
    block = 0
    while plain < length:
        for offset, size in fragments(block):
            if plain < length:
                found.append((offset, size, block))
            plain += size - OVERHEAD
        block += 1
    return found


def needed(length):
    """The shortest lower file that still holds every byte of such a file."""
    used = used_fragments(length)
    return used[-1][0] + used[-1][1] if used else HEADER


def hint(length):
    """st_size of a closed file of that many bytes."""
    if length == 0:
        return HEADER
    end = needed(length)
    return (end + PAGE - 1) // PAGE * PAGE + length % BLOCK


def blocks(length):
    return (length + BLOCK - 1) // BLOCK


def blocks_touched(length, offset, size):
    """Blocks that a change of lower bytes [offset, offset + size) damages."""
    return {block for at, n, block in used_fragments(length)
            if at < offset + size and offset < at + n}
