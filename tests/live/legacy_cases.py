# SPDX-License-Identifier: Apache-2.0
"""EncFS configurations to try: what they are, which of them, and how each is written down."""

import base64
import itertools
import os
import random
import textwrap
from dataclasses import dataclass

import legacy_key

BITS = {"aes": (128, 192, 256), "blowfish": (128, 160, 192, 224, 256), "camellia": (128, 192, 256)}
BLOCKS = (64, 208, 512, 1024, 4096)
NAMES = ("block", "block32", "stream", "null")
# Chained names, IVs of files, and the two together, which external IV chaining needs.
CHAINS = ("", "c", "u", "cu", "cux")
MACS = ((0, 0), (8, 0), (4, 0), (0, 8), (8, 8), (4, 8))
NAME_MAJORS = {"block": 4, "block32": 4, "stream": 2, "null": 1}
NAME_AGES = {"block": 2, "block32": 2, "stream": 2, "null": 0}
ITERATIONS = 1000  # enough for a key that is no secret


@dataclass(frozen=True)
class Case:
    cipher: str = "aes"
    bits: int = 192
    block: int = 1024
    names: str = "block"
    chains: str = "cu"
    mac: int = 0
    random: int = 0
    holes: bool = True
    # "v6", "v6-2008" (before salts), "v5", "v4"; or what makes encfs write the configuration itself:
    # "standard", "paranoia", "expert".
    form: str = "v6"
    cipher_major: int = 3
    name_major: int = -1
    plain: bool = False

    @property
    def name(self):
        words = [f"{self.cipher}{self.bits}", f"b{self.block}", self.names, self.chains or "bare",
                 f"m{self.mac}r{self.random}"]
        words += ["holes"] if self.holes else []
        words += [self.form] if self.form != "v6" else []
        words += [f"c{self.cipher_major}"] if self.cipher_major != 3 else []
        words += [f"n{self.name_major}"] if self.name_major >= 0 else []
        words += ["plain"] if self.plain else []
        return "-".join(words)

    @property
    def external(self):
        return "x" in self.chains

    @property
    def bound_to_names(self):
        """Whether a file's header really depends on its name, which then must be the only one."""
        return self.chains == "cux" and self.names != "null"

    @property
    def data_block(self):
        """Plain bytes in a whole block."""
        return self.block - self.mac - self.random

    @property
    def name_limit(self):
        """The longest name whose encoded form has 255 bytes at most."""
        if self.names == "null":
            return 255
        room = (255 * (5 if self.names == "block32" else 6)) // 8 - 2
        if self.names == "stream":
            return room
        length = legacy_key.LENGTHS[self.cipher]
        return room // length * length - 1

    def major_of_names(self):
        return NAME_MAJORS[self.names] if self.name_major < 0 else self.name_major

    def answers(self):
        """What encfs's expert mode asks for, in its order, but for the password."""
        def say(yes):
            return "y" if yes else "n"
        lines = ["x", str(1 + ("aes", "blowfish", "camellia").index(self.cipher)), str(self.bits),
                 str(self.block), str(1 + ("block", "block32", "null", "stream").index(self.names)),
                 say("c" in self.chains), say("u" in self.chains)]
        if "c" in self.chains and "u" in self.chains:
            lines.append(say(self.external))
        return [*lines, say(self.mac), str(self.random), say(self.holes)]


# What the pairs below do not reach: what encfs writes by itself, older forms and majors, odd numbers.
SPECIAL = (
    Case(form="standard"),
    Case(bits=256, chains="cux", mac=8, form="paranoia"),
    Case("blowfish", 160, 512, "stream", mac=8, random=4, form="expert"),
    Case("camellia", 256, 256, "block32", "c", random=3, holes=False, form="expert"),
    Case(mac=3, random=5),
    Case("blowfish", 128, 72, "block32", "cu", mac=1),
    Case("aes", 256, 4096, "stream", "", holes=False),
    Case(chains="x", mac=8),
    Case(chains="ux"),
    Case(chains="cx"),
    Case(chains="c", plain=True),  # with IVs of files encfs would look for one that is not 0, for ever
    Case("aes", 256, 512, form="v6-2008"),
    Case("blowfish", 160, 512, "stream", form="v6-2008", cipher_major=2),
    Case("aes", 192, 512, "block", "cux", mac=8, holes=False, form="v5", cipher_major=2, name_major=3),
    Case("blowfish", 160, 64, "block", "cu", holes=False, form="v5", cipher_major=1, name_major=2),
    Case("blowfish", 160, 512, "stream", "c", holes=False, form="v5", cipher_major=2, name_major=1),
    Case("aes", 256, 512, "stream", "u", mac=4, random=8, holes=False, form="v5", cipher_major=1,
         name_major=0),
    Case("camellia", 192, 512, "stream", "cu", holes=False, form="v5", name_major=2),
    Case("blowfish", 160, 512, "stream", "", holes=False, form="v4", cipher_major=1, name_major=1),
    Case("aes", 192, 512, "stream", "", holes=False, form="v4", cipher_major=2, name_major=1),
)


KEYS = tuple((cipher, bits) for cipher in BITS for bits in BITS[cipher])


def _case(key, block, names, chains, macs, holes):
    return Case(*key, block, names, chains, *macs, holes)


def pairwise():
    """A few cases in which any two values of two options meet."""
    options = (KEYS, BLOCKS, NAMES, CHAINS, MACS, (True, False))
    places = list(itertools.combinations(range(len(options)), 2))
    open_pairs = {(i, a, j, b) for i, j in places for a in options[i] for b in options[j]}
    every = list(itertools.product(*options))
    random.Random(1).shuffle(every)  # the same ones in each run
    chosen = []
    while open_pairs:
        def gain(values):
            return sum((i, values[i], j, values[j]) in open_pairs for i, j in places)
        best = max(every[:1500], key=gain)
        if gain(best) == 0:
            best = max(every, key=gain)
        open_pairs -= {(i, best[i], j, best[j]) for i, j in places}
        chosen.append(_case(*best))
    return chosen


def cases(full):
    if not full:
        return [*SPECIAL, *pairwise()]
    return [*SPECIAL, *(_case(*values) for values in
                        itertools.product(KEYS, BLOCKS, NAMES, CHAINS, MACS, (True, False)))]


def _number(value):
    digits = [value & 127]
    while value := value >> 7:
        digits.append(value & 127 | 128)
    return bytes(reversed(digits))


def _text(value):
    return _number(len(value)) + value


def _interface(name, current, age):
    return _text(name.encode()) + _number(current) + _number(0) + _number(age)


def _binary(case, wrapped):
    """V5 and V4: a dictionary of byte strings."""
    entries = {"cipher": _interface(f"ssl/{case.cipher}", case.cipher_major, case.cipher_major - 1),
               "keySize": _number(case.bits), "blockSize": _number(case.block),
               "keyData": _text(wrapped)}
    if case.form == "v5":
        names = case.major_of_names()
        entries |= {"creator": _text(b"EncFS 1.4.1"), "subVersion": _number(20040813),
                    "naming": _interface(f"nameio/{case.names}", names, 0),
                    "uniqueIV": _number("u" in case.chains), "chainedIV": _number("c" in case.chains),
                    "externalIV": _number(case.external), "blockMACBytes": _number(case.mac),
                    "blockMACRandBytes": _number(case.random)}
    return _number(len(entries)) + b"".join(_text(key.encode()) + _text(value)
                                            for key, value in sorted(entries.items()))


def _xml(case, wrapped, salt):
    def base64_text(data):
        return "\n" + textwrap.fill(base64.b64encode(data).decode(), 76) + "\n"

    def algorithm(tag, name, major):
        return (f"<{tag} class_id=\"1\" tracking_level=\"0\" version=\"0\">\n<name>{name}</name>\n"
                f"<major>{major}</major>\n<minor>0</minor>\n</{tag}>\n")

    values = {"keySize": case.bits, "blockSize": case.block, "plainData": int(case.plain),
              "uniqueIV": int("u" in case.chains), "chainedNameIV": int("c" in case.chains),
              "externalIVChaining": int(case.external), "blockMACBytes": case.mac,
              "blockMACRandBytes": case.random, "allowHoles": int(case.holes),
              "encodedKeySize": len(wrapped), "encodedKeyData": base64_text(wrapped)}
    version = "20080813"
    if salt:
        version = "20100713"
        values |= {"saltLen": len(salt), "saltData": base64_text(salt), "kdfIterations": ITERATIONS,
                   "desiredKDFDuration": 500}
    return ("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\" ?>\n<!DOCTYPE boost_serialization>\n"
            "<boost_serialization signature=\"serialization::archive\" version=\"7\">\n"
            f"<cfg class_id=\"0\" tracking_level=\"0\" version=\"20\">\n<version>{version}</version>\n"
            "<creator>EncFS 1.9.5</creator>\n"
            + algorithm("cipherAlg", f"ssl/{case.cipher}", case.cipher_major)
            + algorithm("nameAlg", f"nameio/{case.names}", case.major_of_names())
            + "".join(f"<{tag}>{value}</{tag}>\n" for tag, value in values.items())
            + "</cfg>\n</boost_serialization>\n").encode()


def write(case, lower, password):
    """Writes the configuration of a new volume with a new key."""
    salt = os.urandom(20) if case.form == "v6" else b""
    key_bytes = case.bits // 8
    user = legacy_key.user_key(case.cipher, case.cipher_major, key_bytes, password, salt, ITERATIONS)
    wrapped = legacy_key.wrap(user, os.urandom(key_bytes + legacy_key.LENGTHS[case.cipher]))
    name = {"v5": ".encfs5", "v4": ".encfs4"}.get(case.form, ".encfs6.xml")
    data = _binary(case, wrapped) if case.form in ("v4", "v5") else _xml(case, wrapped, salt)
    with open(os.path.join(lower, name), "wb") as out:
        out.write(data)
