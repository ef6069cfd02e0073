# SPDX-License-Identifier: Apache-2.0
"""Wraps a volume key as EncFS does (encfs/legacy/FORMAT.md, Keys), with nothing of extencfs in it.

The cipher is libcrypto's, which encfs itself is linked with; what this wraps is proved right by encfs
1.9.5 opening it.
"""

import ctypes
import hashlib
import hmac
from dataclasses import dataclass

LENGTHS = {"aes": 16, "camellia": 16, "blowfish": 8}
WORD = 0xFFFFFFFF
_libcrypto = None


def libcrypto():
    """libcrypto with the provider that has Blowfish; OSError when there is none."""
    global _libcrypto
    if _libcrypto is None:
        lib = ctypes.CDLL("libcrypto.so.3")
        lib.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
        for name in ("EVP_CIPHER_CTX_free", "EVP_CIPHER_CTX_set_key_length", "EVP_EncryptUpdate"):
            getattr(lib, name).argtypes = [ctypes.c_void_p]
        lib.EVP_CIPHER_CTX_set_key_length.argtypes = [ctypes.c_void_p, ctypes.c_int]
        lib.EVP_EncryptInit_ex.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
                                           ctypes.c_char_p, ctypes.c_char_p]
        lib.EVP_EncryptUpdate.argtypes = [ctypes.c_void_p, ctypes.c_char_p,
                                          ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_int]
        lib.OSSL_PROVIDER_load.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        lib.OSSL_PROVIDER_load.restype = ctypes.c_void_p
        # With one provider loaded by name the default is not loaded by itself any more.
        for provider in (b"default", b"legacy"):
            if not lib.OSSL_PROVIDER_load(None, provider):
                raise OSError(f"libcrypto has no provider {provider.decode()}")
        _libcrypto = lib
    return _libcrypto


def cfb(cipher, key, vector, data):
    lib = libcrypto()
    name = "EVP_bf_cfb64" if cipher == "blowfish" else f"EVP_{cipher}_{len(key) * 8}_cfb128"
    getattr(lib, name).restype = ctypes.c_void_p
    context = lib.EVP_CIPHER_CTX_new()
    try:
        out, length = ctypes.create_string_buffer(len(data)), ctypes.c_int()
        good = (lib.EVP_EncryptInit_ex(context, getattr(lib, name)(), None, None, None)
                and lib.EVP_CIPHER_CTX_set_key_length(context, len(key))
                and lib.EVP_EncryptInit_ex(context, None, None, key, vector)
                and lib.EVP_EncryptUpdate(context, out, ctypes.byref(length), data, len(data)))
        if not good or length.value != len(data):
            raise OSError(f"libcrypto: {name} failed")
        return out.raw
    finally:
        lib.EVP_CIPHER_CTX_free(context)


@dataclass(frozen=True)
class Key:
    """A cipher's key and the IV that goes with it."""
    cipher: str
    major: int
    key: bytes
    iv: bytes

    def vector(self, seed):
        if self.major >= 3:
            mac = hmac.digest(self.key, self.iv + seed.to_bytes(8, "little"), "sha1")
            return mac[:len(self.iv)]
        seed &= WORD
        a = (0x060a4011 * seed & WORD).to_bytes(4, "little")
        b = (0x0221040d * (seed ^ 0xD3FEA11C) & WORD).to_bytes(4, "little")
        mask = bytes([a[3], b[2], a[1], b[0], b[3], a[2], b[1], a[0],
                      a[0], b[1], a[2], b[3], a[3], b[2], a[1], b[0]])
        return bytes(x ^ y for x, y in zip(self.iv, mask))

    def stream(self, data, seed):
        def shuffle(data):
            mixed = bytearray(data)
            for i in range(len(mixed) - 1):
                mixed[i + 1] ^= mixed[i]
            return bytes(mixed)

        once = cfb(self.cipher, self.key, self.vector(seed), shuffle(data))
        flipped = b"".join(once[i:i + 64][::-1] for i in range(0, len(once), 64))
        return cfb(self.cipher, self.key, self.vector(seed + 1), shuffle(flipped))

    def mac32(self, data):
        mac = hmac.digest(self.key, data, "sha1")
        folded = bytearray(8)
        for i, byte in enumerate(mac[:19]):
            folded[i % 8] ^= byte
        return int.from_bytes(folded[:4], "big") ^ int.from_bytes(folded[4:], "big")


def bytes_to_key(password, length):
    """The key derivation from before there were salts: 16 rounds of SHA-1."""
    out, digest = b"", b""
    while len(out) < length:
        digest = digest + password
        for _ in range(16):
            digest = hashlib.sha1(digest).digest()
        out += digest
    return out[:length]


def user_key(cipher, major, key_bytes, password, salt, iterations):
    length = LENGTHS[cipher]
    if salt:
        derived = hashlib.pbkdf2_hmac("sha1", password, salt, iterations, key_bytes + length)
    elif major == 1 and cipher == "blowfish":
        # EncFS 1.0 asked OpenSSL for the key, whose Blowfish has 16 bytes whatever was configured.
        derived = bytes_to_key(password, 16 + length)
        derived = derived[:16] + bytes(key_bytes - 16) + derived[16:]
    else:
        derived = bytes_to_key(password, key_bytes + length)
    return Key(cipher, major, derived[:key_bytes], derived[key_bytes:])


def wrap(user, volume_key):
    """What stands in a configuration as the volume's key."""
    check = user.mac32(volume_key)
    return check.to_bytes(4, "big") + user.stream(volume_key, check)
