# SPDX-License-Identifier: Apache-2.0
"""Looks through the memory of a running mount for keys that it must not have any more, at first and after its keys
were rotated.

The keys are worked out from the volume's configuration by tests/vectors/volume/make_vectors.py, the second
implementation of FORMAT.md. Neither the password nor the volume key, nor what was made of it to open the
configuration, may be anywhere in the daemon; a key that the mount works with must be, or the search is worth nothing.
"""

import base64
import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import lib

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "volume"


def vectors():
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(VECTORS))
    try:
        import make_vectors
    except (ImportError, OSError) as missing:
        lib.skip(f"the second implementation cannot run: {missing}")
    return make_vectors


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def open_box(crypto, key, box, bound):
    """What is in a sealed box, and the subkey that opened it."""
    subkey = ctypes.create_string_buffer(32)
    assert crypto.SODIUM.crypto_core_hchacha20(subkey, box[:16], key, None) == 0
    plain = crypto.ChaCha20Poly1305(subkey.raw).decrypt(b"\0\0\0\0" + box[16:24], box[24:], bound)
    return plain, subkey.raw


def keys_of(config, password):
    """(keys that must be gone, keys that must be there), by name."""
    crypto = vectors()
    volume_id = bytes.fromhex(config["volume_id"])
    slot = config["slots"][0]
    cost = slot["kdf"]
    slot_key = crypto.argon2id(password, decoded(slot["salt"]), cost["memory_kib"], cost["passes"], cost["lanes"])
    parameters = crypto.canonical({name: slot[name] for name in ("id", "kdf", "kind", "salt")})
    volume_key, slot_subkey = open_box(crypto, slot_key, decoded(slot["wrapped"]),
                                       b"x1s" + volume_id + parameters.encode())
    wrap = crypto.kdf(volume_key, "x1.gen-wrap")
    newest = config["generations"][-1]
    generation, wrap_subkey = open_box(crypto, wrap, decoded(newest["wrapped"]),
                                       b"x1g" + volume_id + newest["number"].to_bytes(4, "little"))
    gone = {"password": password, "slot key": slot_key, "slot subkey": slot_subkey, "volume key": volume_key,
            "x1.gen-wrap": wrap, "its subkey": wrap_subkey, "x1.config-mac": crypto.kdf(volume_key, "x1.config-mac"),
            "generation key": generation}
    return gone, {"x1.header": crypto.kdf(generation, "x1.header")}


def places(pid, keys):
    """The names of those keys that are in memory that the process may write."""
    found = {}
    with open(f"/proc/{pid}/mem", "rb", 0) as memory, open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            fields = line.split()
            if not fields[1].startswith("rw"):
                continue
            start, end = (int(part, 16) for part in fields[0].split("-"))
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except OSError:
                continue
            for name, key in keys.items():
                if key in content:
                    found.setdefault(name, []).append(fields[5] if len(fields) > 5 else fields[0])
    return found


def read_config(volume):
    return json.loads(Path(volume.lower, "extencfs.conf").read_text())


def held(mount, gone, needed, when):
    there = places(mount.pid, needed)
    lib.check(there.keys() == needed.keys(), f"the search does not find a key that is in use{when}")
    return [f"the mount still holds{when}: {name}, in {where}" for name, where in places(mount.pid, gone).items()]


def run():
    lib.need_mounts()
    lib.need_root()
    if lib.peer() != "extencfs":
        lib.skip("it is about extencfs's keys")
    with lib.Scratch() as scratch:
        volume = lib.Volume(scratch, scratch.file("lower"))
        gone, needed = keys_of(read_config(volume), lib.PASSWORD.encode())
        mount = volume.mount()
        file = Path(mount.mountpoint, "file")
        file.write_bytes(b"contents" * 1000)
        os.listdir(mount.mountpoint)
        failures = held(mount, gone, needed, "")
        subprocess.run([lib.program(), "key", "rotate", "--online", "--yes", "--passfile", volume.passfile,
                        mount.mountpoint], check=True, stdout=subprocess.DEVNULL)
        lib.check(file.read_bytes() == b"contents" * 1000, "a rotation changed a file")
        # Neither what the rotation was given and made, nor what was in use before.
        gone |= {f"older {name}": key for name, key in needed.items()}
        newer_gone, needed = keys_of(read_config(volume), lib.PASSWORD.encode())
        gone |= {f"newer {name}": key for name, key in newer_gone.items()}
        failures += held(mount, gone, needed, " after a rotation")
        mount.unmount()
    return failures


if __name__ == "__main__":
    lib.main(run)
