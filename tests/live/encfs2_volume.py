# SPDX-License-Identifier: Apache-2.0
"""Writes volumes of EncFS 2 (encfs/legacy/FORMAT.md, V7), with nothing of extencfs in it: POLYVAL is written down as
RFC 8452 has it, the rest is libcrypto's and libargon2's. No EncFS 2 has read them."""

import ctypes
import hashlib
import hmac
import os

import legacy_key

DIGITS = ",-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MEMORY_KIB, PASSES, LANES = 8192, 1, 4


def aes_blocks(key, data):
    """Each block by itself."""
    lib = legacy_key.libcrypto()
    lib.EVP_aes_128_ecb.restype = lib.EVP_aes_256_ecb.restype = ctypes.c_void_p
    lib.EVP_CIPHER_CTX_set_padding.argtypes = [ctypes.c_void_p, ctypes.c_int]
    cipher = lib.EVP_aes_128_ecb() if len(key) == 16 else lib.EVP_aes_256_ecb()
    context = lib.EVP_CIPHER_CTX_new()
    try:
        out, length = ctypes.create_string_buffer(len(data) + 16), ctypes.c_int()
        good = (lib.EVP_EncryptInit_ex(context, cipher, None, key, None)
                and lib.EVP_CIPHER_CTX_set_padding(context, 0)
                and lib.EVP_EncryptUpdate(context, out, ctypes.byref(length), data, len(data)))
        if not good or length.value != len(data):
            raise OSError("libcrypto: AES failed")
        return out.raw[:len(data)]
    finally:
        lib.EVP_CIPHER_CTX_free(context)


def xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other))


# ---- AES-256-GCM, for the key: GHASH and counters by hand ----

def gcm_seal(key, nonce, aad, plain):
    def ghash(data):
        sum_ = 0
        for at in range(0, len(data), 16):
            sum_ ^= int.from_bytes(data[at:at + 16], "big")
            product, v = 0, sum_
            for bit in range(128):
                if subkey >> (127 - bit) & 1:
                    product ^= v
                v = v >> 1 ^ (0xe1 << 120 if v & 1 else 0)
            sum_ = product
        return sum_.to_bytes(16, "big")

    def padded(data):
        return data + bytes(-len(data) % 16)
    subkey = int.from_bytes(aes_blocks(key, bytes(16)), "big")
    blocks = -(-len(plain) // 16)
    counters = b"".join(nonce + (i + 1).to_bytes(4, "big") for i in range(blocks + 1))
    stream = aes_blocks(key, counters)
    sealed = xor(plain, stream[16:])
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * len(sealed)).to_bytes(8, "big")
    return sealed + xor(ghash(padded(aad) + padded(sealed) + lengths), stream)


# ---- AES-GCM-SIV (RFC 8452), for blocks ----

FIELD = 1 << 128 | 1 << 127 | 1 << 126 | 1 << 121 | 1


def dot(one, other):
    """one * other * x^-128."""
    product = 0
    for bit in range(128):
        if other >> bit & 1:
            product ^= one << bit
    for _ in range(128):
        if product & 1:
            product ^= FIELD
        product >>= 1
    return product


def siv_seal(key, nonce, aad, plain):
    parts = 2 + len(key) // 8
    derived = aes_blocks(key, b"".join(i.to_bytes(4, "little") + nonce for i in range(parts)))
    keys = b"".join(derived[16 * i:16 * i + 8] for i in range(parts))
    subkey, own = int.from_bytes(keys[:16], "little"), keys[16:]
    sum_ = 0
    lengths = (8 * len(aad)).to_bytes(8, "little") + (8 * len(plain)).to_bytes(8, "little")
    data = aad + bytes(-len(aad) % 16) + plain + bytes(-len(plain) % 16) + lengths
    for at in range(0, len(data), 16):
        sum_ = dot(sum_ ^ int.from_bytes(data[at:at + 16], "little"), subkey)
    tag = bytearray(xor(sum_.to_bytes(16, "little"), nonce + bytes(4)))
    tag[15] &= 0x7f
    tag = aes_blocks(own, bytes(tag))
    first = tag[:15] + bytes([tag[15] | 0x80])
    start = int.from_bytes(first[:4], "little")
    counters = b"".join(((start + i) % 2**32).to_bytes(4, "little") + first[4:] for i in range(-(-len(plain) // 16)))
    return tag + xor(plain, aes_blocks(own, counters) if counters else b"")


# ---- the configuration ----

def number(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])


def field(no, value):
    if isinstance(value, bytes):
        return number(no << 3 | 2) + number(len(value)) + value
    return number(no << 3) + number(value) if value else b""


class Volume:
    """A volume in the directory `lower`. `wide`: IVs of 96 bits, as EncFS 2 makes them."""

    def __init__(self, lower, password, wide=True, block=4096, key_bytes=32):
        self.lower, self.wide, self.block = lower, wide, block
        secret = os.urandom(key_bytes + 16)
        self.key = legacy_key.Key("aes", 3, secret[:key_bytes], secret[key_bytes:])
        salt = os.urandom(20)
        argon2 = field(1, salt) + field(2, MEMORY_KIB) + field(3, PASSES) + field(4, LANES)
        cipher = field(1, 8 * key_bytes) + field(2, block) + field(3, 1) + field(4, int(wide))
        rest = field(4, field(1, 1) + field(2, 1) + field(3, 1)) + field(5, field(1, 1)) + field(8, 2 if wide else 1)
        digest = hashlib.sha256(field(2, argon2) + field(7, cipher) + rest).digest()
        user, lib = ctypes.create_string_buffer(32), ctypes.CDLL("libargon2.so.1")
        if lib.argon2id_hash_raw(PASSES, MEMORY_KIB, LANES, password, ctypes.c_size_t(len(password)), salt,
                                 ctypes.c_size_t(len(salt)), user, ctypes.c_size_t(32)) != 0:
            raise OSError("libargon2 failed")
        nonce = os.urandom(12)
        wrapped = nonce + gcm_seal(user.raw, nonce, digest, secret)
        with open(os.path.join(lower, ".encfs7"), "wb") as out:
            out.write(b"ENCFS7\0" + field(1, wrapped) + field(2, argon2) + field(7, cipher) + rest + field(6, digest))

    def code(self, name, chain):
        """A name as it lies below, and the chain value of what is below it."""
        mac = hmac.digest(self.key.key, name + chain.to_bytes(8, "little"), "sha1")
        folded = bytearray(8)
        for i, byte in enumerate(mac[:19]):
            folded[i % 8] ^= byte
        short = int.from_bytes(xor(xor(folded[0:2], folded[2:4]), xor(folded[4:6], folded[6:8])), "big")
        raw = short.to_bytes(2, "big") + self.key.stream(name, short ^ chain)
        value = int.from_bytes(raw, "little")
        digits = "".join(DIGITS[value >> 6 * i & 63] for i in range(-(-8 * len(raw) // 6)))
        return digits, int.from_bytes(folded, "big")

    def place(self, path):
        chain, parts = 0, []
        for name in path.split("/"):
            coded, chain = self.code(name.encode(), chain)
            parts.append(coded)
        return os.path.join(self.lower, *parts), chain

    def directory(self, path):
        os.mkdir(self.place(path)[0])

    def symlink(self, path, target):
        place, chain = self.place(path)
        os.symlink(self.code(target.encode(), chain)[0], place)

    def file(self, path, data):
        place, chain = self.place(path)
        size = 12 if self.wide else 8
        iv = int.from_bytes(os.urandom(size), "big")
        with open(place, "wb") as out:
            if not data:
                return
            out.write(self.key.stream(iv.to_bytes(size, "big"), chain))
            for block, at in enumerate(range(0, len(data), self.block - 16)):
                if self.wide:
                    nonce = (iv ^ block).to_bytes(12, "little")
                    aad = iv.to_bytes(12, "little") + block.to_bytes(8, "little")
                else:
                    nonce = (iv ^ block >> 32).to_bytes(8, "little") + (block % 2**32).to_bytes(4, "little")
                    aad = iv.to_bytes(8, "little") + block.to_bytes(8, "little")
                out.write(siv_seal(self.key.key, nonce, aad, data[at:at + self.block - 16]))
