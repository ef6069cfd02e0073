#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes format1.json: known answers of volume format 1, written from FORMAT.md alone and with other
libraries' bindings than the program's, so that the program and its specification are held against
each other. Run by hand (needs python3-cryptography, libargon2.so.1, libsodium.so.23); the result is
committed and frozen: bytes that a released program wrote must open for ever.

Each case says what is expected: "good", or the kind of failure."""
import base64
import ctypes
import hashlib
import json
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV, ChaCha20Poly1305

SODIUM = ctypes.CDLL("libsodium.so.23")
ARGON2 = ctypes.CDLL("libargon2.so.1")
GCM, XCHACHA = 1, 2


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def b32hex(data):
    return base64.b32hexencode(data).decode().rstrip("=").lower()


def kdf(parent, purpose, context=b"", size=32):
    return hashlib.blake2b(context, key=parent, digest_size=size,
                           person=purpose.encode().ljust(16, b"\0")).digest()


def mac(key, message, size):
    return hashlib.blake2b(message, key=key, digest_size=size).digest()


def xchacha_seal(key, nonce, aad, plain):
    subkey = ctypes.create_string_buffer(32)
    assert SODIUM.crypto_core_hchacha20(subkey, nonce[:16], key, None) == 0
    return ChaCha20Poly1305(subkey.raw).encrypt(b"\0\0\0\0" + nonce[16:], plain, aad)


def argon2id(password, salt, memory_kib, passes, lanes):
    out = ctypes.create_string_buffer(32)
    status = ARGON2.argon2id_hash_raw(
        ctypes.c_uint32(passes), ctypes.c_uint32(memory_kib), ctypes.c_uint32(lanes),
        password, ctypes.c_size_t(len(password)), salt, ctypes.c_size_t(len(salt)),
        out, ctypes.c_size_t(32))
    assert status == 0
    return out.raw


def fixed(tag, size):
    """Bytes that stand for random ones: the same in every run."""
    return hashlib.shake_256(tag.encode()).digest(size)


GENERATION = fixed("generation key", 32)
CONTENT = kdf(GENERATION, "x1.content")
HEADER = kdf(GENERATION, "x1.header")
NAMES = kdf(GENERATION, "x1.names", size=64)
DIR_MAC = kdf(GENERATION, "x1.dir-mac")
DIR_BIND = kdf(GENERATION, "x1.dir-bind")
XATTR = kdf(GENERATION, "x1.xattr")
XATTR_NAME = kdf(GENERATION, "x1.xattr-name", size=64)
SYMLINK = kdf(GENERATION, "x1.symlink")


# ---- contents ----

def place(number):
    """Plain offset and size, lower offset of a fragment: FORMAT.md, Contents."""
    block, second = divmod(number, 2)
    start = 64 + 4160 * block
    boundary = (start // 4096 + 1) * 4096
    first = boundary - start - 32
    if second:
        return block * 4096 + first, 4096 - first, boundary
    return block * 4096, first, start


def seal_fragment(cipher, file_id, cut, number, epoch, used, nonce, plain):
    file_key = kdf(CONTENT, "x1.file", file_id + struct.pack("<IB", cut, cipher))
    key = kdf(file_key, "x1.group", struct.pack("<Q", number // 128))
    word = struct.pack("<I", used | epoch << 12)
    aad = b"x1c" + struct.pack("<QB", number // 2, number % 2) + word
    if cipher == GCM:
        sealed = AESGCM(key).encrypt(nonce, plain, aad)
    else:
        sealed = xchacha_seal(key, nonce + word + struct.pack("<Q", number), aad, plain)
    return nonce + word + sealed


def content_cases():
    cases = []
    for cipher in (GCM, XCHACHA):
        for first, count, used_of_last, epoch, cut in (
                (124, 1, 32, 0, 0),          # smallest first fragment
                (127, 2, 4000, 5, 1),        # crosses to the next group
                (0, 1, 1, (1 << 20) - 1, 0),  # one byte, highest epoch
                (2 * (2 ** 40), 1, 32, 3, 7)):  # a block number above 32 bits
            file_id = fixed(f"file {cipher} {first}", 16)
            lower, plain = b"", b""
            for i in range(count):
                off, size, _ = place(first + i)
                used = used_of_last if i == count - 1 else size
                text = fixed(f"plain {first + i}", used).ljust(size, b"\0")
                nonce = fixed(f"nonce {cipher} {first + i}", 12)
                lower += seal_fragment(cipher, file_id, cut, first + i, epoch, used, nonce, text)
                plain += text
            cases.append({"cipher": cipher, "file_id": file_id.hex(), "cut": cut, "first": first,
                          "count": count, "epoch": epoch, "used_of_last": used_of_last,
                          "plain": plain.hex(), "lower": lower.hex()})
    return cases


def header(version=1, cipher=GCM, flags=0, generation=1, epoch=0, size=0, cut=0, reserved=0,
           magic=b"EXTF", key=HEADER):
    body = magic + struct.pack("<BBHIIQ", version, cipher, flags, generation, epoch, size)
    body += fixed("header id", 16) + struct.pack("<II", cut, reserved)
    assert len(body) == 48
    return body + mac(key, body, 16)


def header_cases():
    def case(expect, **fields):
        return {"expect": expect, "bytes": header(**fields).hex(),
                "fields": {k: v for k, v in fields.items() if isinstance(v, int)}}
    return [
        case("good"),
        case("good", cipher=XCHACHA, flags=1, generation=7, epoch=(1 << 20) - 1, size=1 << 62,
             cut=0xffffffff),
        case("good", size=4097, epoch=3),
        case("unsupported", version=2),
        case("unsupported", cipher=3),
        case("unsupported", cipher=0),
        case("unsupported", flags=2),
        case("unsupported", flags=0x8000),
        case("unsupported", reserved=1),
        case("damaged", size=(1 << 62) + 1),
        case("damaged", epoch=1 << 20),
        case("damaged", magic=b"EXTD"),
        case("damaged", key=DIR_MAC),
    ]


# ---- names ----

def pad16(text):
    return text + b"\0" * (-len(text) % 16)


def siv(key, owner, text):
    return AESSIV(key).encrypt(pad16(text), [owner])


def name_cases():
    cases = []
    directory = fixed("directory id", 16)
    for size in (1, 15, 16, 17, 128, 129, 160, 161, 255):
        plain = ("n" * (size - 1) + "z").encode()
        sealed = siv(NAMES, directory, plain)
        for encoding, text in (("base64url", b64), ("base32hex", b32hex)):
            entry, side_name = text(sealed), ""
            if len(entry) > 255:
                digest = text(hashlib.blake2b(sealed, digest_size=32).digest())
                entry, side_name = "extencfs.l." + digest, "extencfs.n." + digest
            cases.append({"encoding": encoding, "dir_id": directory.hex(), "plain": plain.decode(),
                          "entry": entry, "side_name": side_name,
                          "side_bytes": sealed.hex() if side_name else ""})
    return cases


def dir_case():
    parent, entry = fixed("parent id", 16), "some-entry"
    here = mac(DIR_BIND, parent + entry.encode(), 16)
    body = b"EXTD" + bytes([1, 0, 0, 0]) + struct.pack("<II", 1, 2) + fixed("directory id", 16)
    body += here + bytes(16) + bytes(16)
    assert len(body) == 80
    return {"parent": parent.hex(), "entry": entry, "here": here.hex(),
            "id": fixed("directory id", 16).hex(), "bytes": (body + mac(DIR_MAC, body, 16)).hex()}


def symlink_cases():
    nonce = fixed("symlink nonce", 24)
    inline = b"../target"
    long = b"d/" * 1600
    link_id = b64(fixed("symlink id", 16))
    return {
        "inline": {"plain": inline.decode(),
                   "lower": b64(nonce + xchacha_seal(SYMLINK, nonce, b"x1l", inline))},
        "long": {"plain": long.decode(), "lower": f"extencfs.s.{link_id}.{len(long)}",
                 "file": (nonce + xchacha_seal(SYMLINK, nonce, b"x1m" + link_id.encode(),
                                               long)).hex()},
    }


def xattr_case():
    owner, name, value = fixed("owner", 16), b"user.comment", b"a value"
    nonce = fixed("xattr nonce", 24)
    return {"owner": owner.hex(), "plain": name.decode(), "value": value.hex(),
            "lower": "user.extencfs." + b64(siv(XATTR_NAME, owner, name)),
            "sealed": (nonce + xchacha_seal(XATTR, nonce, owner + name, value)).hex()}


# ---- configuration ----

def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def config_case():
    password, volume_key, volume_id = b"correct horse", fixed("volume key", 32), fixed("id", 16)
    salt = fixed("salt", 32)
    kdf_params = {"algorithm": "argon2id", "memory_kib": 8192, "passes": 1, "lanes": 1}
    bound = {"id": 1, "kind": "password", "kdf": kdf_params, "salt": b64(salt)}
    nonce, nonce2 = fixed("slot nonce", 24), fixed("generation nonce", 24)
    kek = argon2id(password, salt, 8192, 1, 1)
    wrapped = nonce + xchacha_seal(kek, nonce, b"x1s" + volume_id + canonical(bound).encode(),
                                   volume_key)
    generation = nonce2 + xchacha_seal(kdf(volume_key, "x1.gen-wrap"), nonce2,
                                       b"x1g" + volume_id + struct.pack("<I", 1), GENERATION)
    config = {
        "format": "extencfs", "version": 1, "features": [], "volume_id": volume_id.hex(),
        "revision": 3, "creator": "vectors", "content_cipher": "aes-256-gcm",
        "name_encoding": "base64url", "root_id": b64(fixed("root id", 16)),
        "generations": [{"number": 1, "wrapped": b64(generation)}],
        "slots": [dict(bound, label="l\u00f6ck \"1\"", created="2026-01-02T03:04:05Z",
                       changed="2026-01-02T03:04:05Z", wrapped=b64(wrapped))],
        "next_slot_id": 2,
    }
    config["auth"] = b64(mac(kdf(volume_key, "x1.config-mac"), canonical(config).encode(), 32))
    return {"password": password.decode(), "volume_key": volume_key.hex(),
            "generation_key": GENERATION.hex(),
            "text": json.dumps(config, indent=2, ensure_ascii=False) + "\n"}


DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def recovery_text(key):
    """Groups of four digits and a check digit in GF(32)."""
    def times_x(value):
        return ((value << 1) ^ (0x25 if value & 16 else 0)) & 31
    bits = int.from_bytes(key, "big")
    digits = [bits >> (155 - 5 * i) & 31 for i in range(32)]
    groups = []
    for number in range(1, 9):
        group = digits[4 * number - 4:4 * number]
        check = number
        for digit in group:
            check = times_x(check) ^ digit
        groups.append("".join(DIGITS[digit] for digit in [*group, times_x(check)]))
    return "-".join(groups)


def keys_case():
    """A slot of each kind, and one of a kind that no program knows."""
    volume_key, volume_id = fixed("volume key", 32), fixed("id", 16)
    keyfile, recovery = fixed("key file", 64), fixed("recovery key", 20)
    secrets = {"password": b"correct horse", "recovery": recovery,
               "keyfile": hashlib.blake2b(keyfile, digest_size=32).digest()}
    slots = []
    for number, (kind, secret) in enumerate(secrets.items(), 1):
        salt, nonce = fixed(kind + " salt", 32), fixed(kind + " nonce", 24)
        bound = {"id": number, "kind": kind, "salt": b64(salt),
                 "kdf": {"algorithm": "argon2id", "memory_kib": 8192, "passes": 1, "lanes": 1}}
        box = xchacha_seal(argon2id(secret, salt, 8192, 1, 1), nonce,
                           b"x1s" + volume_id + canonical(bound).encode(), volume_key)
        slots.append(dict(bound, label=kind, created="2026-01-02T03:04:05Z",
                          changed="2026-01-02T03:04:06Z", wrapped=b64(nonce + box)))
    tokens = {"systemd": {"sealed": b64(bytes.fromhex("5a1c6a86df9d4096b1d5a65e0862f19a") + fixed("credential", 80))},
              "tpm2": {"sealed": b64(fixed("tpm2 object", 200)), "pcrs": 0x81, "pin": True},
              "fido2": {"sealed": b64(fixed("credential id", 48)), "salt": b64(fixed("fido2 salt", 32)), "pin": False}}
    for number, (kind, token) in enumerate(tokens.items(), 4):
        bound, nonce = {"id": number, "kind": kind, "token": token}, fixed(kind + " nonce", 24)
        box = xchacha_seal(kdf(fixed(kind + " secret", 32), "x1.token"), nonce,
                           b"x1s" + volume_id + canonical(bound).encode(), volume_key)
        slots.append(dict(bound, label=kind, created="2026-01-02T03:04:05Z",
                          changed="2026-01-02T03:04:06Z", wrapped=b64(nonce + box)))
    slots.append({"id": 7, "kind": "smartcard", "label": "chip \"7\"", "created": "2030-01-02T03:04:05Z",
                  "changed": "2030-01-02T03:04:05Z", "pcrs": [0, 7], "policy": {"pin": True, "gr\u00fcn": "\\"}})
    nonce = fixed("generation nonce", 24)
    generation = nonce + xchacha_seal(kdf(volume_key, "x1.gen-wrap"), nonce,
                                      b"x1g" + volume_id + struct.pack("<I", 1), GENERATION)
    config = {
        "format": "extencfs", "version": 1, "features": [], "volume_id": volume_id.hex(),
        "revision": 9, "creator": "vectors", "content_cipher": "aes-256-gcm",
        "name_encoding": "base64url", "root_id": b64(fixed("root id", 16)),
        "generations": [{"number": 1, "wrapped": b64(generation)}],
        "slots": slots, "next_slot_id": 8,
    }
    config["auth"] = b64(mac(kdf(volume_key, "x1.config-mac"), canonical(config).encode(), 32))
    return {"password": "correct horse", "keyfile": keyfile.hex(), "recovery": recovery_text(recovery),
            "tokens": {kind: fixed(kind + " secret", 32).hex() for kind in tokens},
            "volume_key": volume_key.hex(), "text": json.dumps(config, indent=2, ensure_ascii=False) + "\n"}


def main():
    keys = {"content": CONTENT, "header": HEADER, "names": NAMES, "dir_mac": DIR_MAC,
            "dir_bind": DIR_BIND, "xattr": XATTR, "xattr_name": XATTR_NAME, "symlink": SYMLINK}
    vectors = {"keys": {name: key.hex() for name, key in keys.items()},
               "headers": header_cases(), "contents": content_cases(), "names": name_cases(),
               "directory": dir_case(), "symlinks": symlink_cases(), "xattr": xattr_case(),
               "config": config_case(), "keys_config": keys_case()}
    with open("format1.json", "w", encoding="utf-8") as out:
        json.dump(vectors, out, indent=1, ensure_ascii=False)
        out.write("\n")


if __name__ == "__main__":
    main()
