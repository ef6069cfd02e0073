#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What may go wrong with a module in the path of every FUSE request, each as a check. Runs in the guest, as root."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness import (ACCESS, COPY_FILE_RANGE, COPY_FILE_RANGE_64, CREATE, Daemon, FALLOCATE, GETATTR, GETXATTR, HERE,
                     Hammer, LINK, LOOKUP, MKDIR, MKNOD, OPEN, OPENDIR, Program, REMOVEXATTR, RENAME, RENAME2, RMDIR,
                     SETATTR, SETXATTR, SYMLINK, TRACING, UNLINK, WRITE, WRITE_HALF, WRITE_IN_PIECES, WRITE_NOTHING,
                     equal, expect, hooked, load_module, refusal, run_checks, unload_module, wait_for)

ANSWERS = dict(size=4242, lookup=1, getattr=1, getxattr=1)
HELLO = 2


def error_of(action):
    """The name of the errno that action() fails with, or None."""
    try:
        action()
        return None
    except OSError as failure:
        return errno.errorcode.get(failure.errno, failure.errno)


def as_user(uid, gid, code, daemon):
    """Runs Python code with f = the file's path, as another user; returns the client's pid."""
    process = subprocess.Popen([sys.executable, "-c", f"import os\nf={str(daemon.hello)!r}\n{code}"],
                               preexec_fn=lambda: (os.setgroups([]), os.setgid(gid), os.setuid(uid)),
                               stderr=subprocess.DEVNULL)
    process.wait()
    return process.pid


def no_program_no_hook():
    with Daemon() as daemon:
        expect(not hooked(), "the function is hooked although nothing is attached")
        got = daemon.received(lambda: [daemon.stat_size() for _ in range(10)])
        equal((got["lookup"], got["getattr"]), (10, 10), "requests that reached the daemon")


def hook_goes_after_detach():
    with Daemon() as daemon:
        with Program(daemon.hello):
            expect(hooked(), "nothing is hooked although a program is attached")
        wait_for(lambda: not hooked(), "the hook's end")


def answers_reach_the_caller():
    with Daemon() as daemon, Program(daemon.hello, **ANSWERS) as program:
        def calls():
            for _ in range(10):
                equal(daemon.stat_size(), 4242, "size")
                equal(os.getxattr(daemon.hello, "user.bpf"), b"from-bpf", "xattr")
            equal(error_of(lambda: os.getxattr(daemon.hello, "user.other")), "ENODATA", "another xattr")
        got = daemon.received(calls)
        equal((got["lookup"], got["getattr"], got["getxattr"]), (0, 0, 1), "requests that reached the daemon")
        equal(program.report()["past_end"], 0, "extfuse_in() past the end")


def passing_program_changes_nothing():
    with Daemon() as daemon, Program(daemon.hello) as program:
        got = daemon.received(lambda: [equal(daemon.stat_size(), 6, "size") for _ in range(10)])
        equal((got["lookup"], got["getattr"]), (10, 10), "requests that reached the daemon")
        count = program.report()["request"]["count"]
        expect(count[str(LOOKUP)] >= 10 and count[str(GETATTR)] >= 10, f"the program saw {count}")


def results_out_of_range_pass():
    """-ENOSYS would switch an operation off for good, <= -512 is the kernel's own, positive ones mean nothing."""
    with Daemon() as daemon, Program(daemon.hello, **ANSWERS) as program:
        for result in (-errno.ENOSYS, -512, -4095, -2**31, 1, 2, 2**31 - 1):
            program.set(result=result)
            got = daemon.received(lambda: equal(daemon.stat_size(), 6, f"size after {result}"))
            expect(got["lookup"] == 1 and got["getattr"] == 1, f"{result} did not go to the daemon: {got}")
        for result, name in ((-errno.EACCES, "EACCES"), (-1, "EPERM"), (-511, 511)):
            program.set(result=result)
            got = daemon.received(lambda: equal(error_of(daemon.stat_size), name, f"error after {result}"))
            equal(got["lookup"], 0, "lookups that reached the daemon")


def unwritten_replies_pass():
    with Daemon() as daemon, Program(daemon.hello, **ANSWERS) as program:
        for how in (WRITE_NOTHING, WRITE_HALF):
            program.set(write=how)
            got = daemon.received(lambda: equal(daemon.stat_size(), 6, "size"))
            expect(got["lookup"] == 1 and got["getattr"] == 1, f"writing {how} did not go to the daemon: {got}")
        program.set(write=WRITE_IN_PIECES)
        got = daemon.received(lambda: equal(daemon.stat_size(), 4242, "size"))
        equal(got["getattr"], 0, "requests that reached the daemon")
        equal(program.report()["overflow"], -errno.ERANGE, "extfuse_out() of too much")


def context_says_who_asks():
    with Daemon() as daemon, Program(daemon.hello) as program:
        for uid, gid in ((1234, 4321), (65534, 100), (0, 7)):
            pid = as_user(uid, gid, "os.stat(f)", daemon)
            seen = program.report()["request"]
            told = daemon.counters()
            equal((seen["uid"], seen["gid"], seen["pid"]), (uid, gid, pid), "the context")
            # The daemon was asked last by this very client.
            equal((told["uid"], told["gid"], told["pid"]), (uid, gid, pid), "fuse_in_header")
            equal((seen["nodeid"], seen["in_size"], seen["out_size"]), (HELLO, 16, 104), "node and sizes of a GETATTR")
        # In a pid namespace of its own, a client is 1 to itself; the mount's namespace counts.
        subprocess.run(["unshare", "--pid", "--fork", "stat", daemon.hello], check=True, stdout=subprocess.DEVNULL)
        equal(program.report()["request"]["pid"], daemon.counters()["pid"], "pid from another namespace")
        expect(program.report()["request"]["pid"] > 1, "pid from another namespace")


def program_can_refuse_a_user():
    code = "try: os.close(os.open(f, os.O_RDONLY))\nexcept PermissionError: pass\nelse: os._exit(1)\nos.access(f, 4)"
    with Daemon() as daemon, Program(daemon.hello, deny_uid=1234) as program:
        got = daemon.received(lambda: as_user(1234, 1234, code, daemon))
        equal((got["open"], got["access"]), (0, 0), "requests that reached the daemon")
        got = daemon.received(lambda: as_user(1235, 1235, code, daemon))
        equal((got["open"], got["access"]), (1, 0), "requests of another user")
        count = program.report()["request"]["count"]
        expect(count[str(OPEN)] >= 2 and count.get(str(ACCESS), 0) >= 1, f"the program saw {count}")


def changes_are_told_before():
    with Daemon() as daemon, Program(daemon.hello) as program:
        def attempt(action):
            error_of(action)
        new, hello = daemon.path / "new", daemon.hello

        def fallocate_and_copy():
            fd = os.open(hello, os.O_RDWR)
            attempt(lambda: os.posix_fallocate(fd, 0, 10))
            attempt(lambda: os.copy_file_range(fd, fd, 1, 0, 3))
            os.write(fd, b"x" * 100)
            os.close(fd)
        actions = {
            SETATTR: lambda: os.chmod(hello, 0o600), MKDIR: lambda: os.mkdir(new), UNLINK: lambda: os.unlink(hello),
            MKNOD: lambda: os.mkfifo(new), RMDIR: lambda: os.rmdir(daemon.path / "hello"),
            RENAME2: lambda: os.rename(hello, new), SYMLINK: lambda: os.symlink("x", new), LINK: lambda: os.link(hello, new),
            CREATE: lambda: os.close(os.open(new, os.O_CREAT | os.O_WRONLY)),
            SETXATTR: lambda: os.setxattr(hello, "user.a", b"1"), REMOVEXATTR: lambda: os.removexattr(hello, "user.a"),
        }
        del actions[RMDIR]  # of a file the VFS refuses it itself
        got = daemon.received(lambda: [attempt(action) for action in actions.values()] and fallocate_and_copy())
        report = program.report()
        count = report["change"]["count"]
        count[str(RENAME2)] = count.pop(str(RENAME), 0) + count.get(str(RENAME2), 0)
        for opcode in (*actions, WRITE, FALLOCATE, COPY_FILE_RANGE):
            expect(count.get(str(opcode), 0) >= 1, f"before() was not told of opcode {opcode}: {count}")
        # Later kernels try COPY_FILE_RANGE_64 first, which libfuse may refuse without asking the daemon.
        told = sum(count.values()) - count.get(str(COPY_FILE_RANGE_64), 0)
        equal(told, got["change"], "changes told of, and received by the daemon")
        equal(report["change"]["opcode"], WRITE, "the last")
        equal((report["change"]["nodeid"], report["change"]["in_size"], report["change"]["out_size"]), (HELLO, 40, 0),
              "its node, its size without the data, its room for a reply")
        equal(report["before_out"], -errno.ERANGE, "extfuse_out() in before()")
        expect(str(GETATTR) not in count and str(OPENDIR) not in count, f"told of what changes nothing: {count}")


def dead_daemon_answers_nothing():
    with Daemon() as daemon, Program(daemon.hello, **ANSWERS) as program:
        fd = os.open(daemon.hello, os.O_RDONLY)
        equal(os.fstat(fd).st_size, 4242, "size while it lives")
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        served = program.report()["served"]
        for _ in range(5):
            equal(error_of(lambda: os.fstat(fd)), "ENOTCONN", "fstat")
            equal(error_of(daemon.stat_size), "ENOTCONN", "stat")
            equal(error_of(lambda: os.getxattr(daemon.hello, "user.bpf")), "ENOTCONN", "getxattr")
        equal(program.report()["served"], served, "answers after its death")
        os.close(fd)


def aborted_connection_answers_nothing():
    with Daemon() as daemon:
        connection = str(os.minor(daemon.hello.stat().st_dev))
        fd = os.open(daemon.path, os.O_RDONLY)
        with Program(daemon.hello, **ANSWERS):
            equal(daemon.stat_size(), 4242, "size")
            (Path("/sys/fs/fuse/connections") / connection / "abort").write_text("1")
            equal(error_of(daemon.stat_size), "ENOTCONN", "stat")
        equal(refusal(f"/proc/{os.getpid()}/fd/{fd}"), "attach: EBADF", "attaching where nothing can be opened")
        os.close(fd)


def unmount_while_attached():
    with Daemon() as daemon:
        program = Program(daemon.hello, **ANSWERS)
        equal(daemon.stat_size(), 4242, "size")
        subprocess.run(["umount", daemon.path], check=True)
        with Daemon("two", 7) as second:
            equal(second.stat_size(), 7, "size on a later mount")
            with Program(second.hello, **ANSWERS):
                equal(second.stat_size(), 4242, "size on a later mount with a program")
        program.detach()


def wrong_files_are_refused():
    with Daemon() as daemon:
        connection = os.minor(daemon.hello.stat().st_dev)
        for path in ("/dev/null", "/dev/fuse", "/tmp", "/proc/self/status", f"/sys/fs/fuse/connections/{connection}/waiting"):
            equal(refusal(path), "attach: EINVAL", path)
        equal(refusal("/nonexistent"), "attach: EBADF", "no file")
        equal(refusal(daemon.hello, "--drop-admin"), "attach: EPERM", "without CAP_SYS_ADMIN")
        for uid in (1, 1000, 2**32 - 1):
            equal(refusal(daemon.hello, f"--of-user={uid}"), "attach: EACCES", f"root's mount as one of user {uid}")
        equal(refusal(daemon.hello, "--of-user=0"), "attached", "root's mount as one of root")
        equal(daemon.stat_size(), 6, "size")


def second_program_is_refused():
    with Daemon() as daemon, Daemon("two", 7) as other, Program(daemon.hello, **ANSWERS) as program:
        equal(refusal(daemon.path), "attach: EEXIST", "another program on the same mount")
        equal(program.attach_again(), "attach: EEXIST", "the same program once more")
        equal(daemon.stat_size(), 4242, "size")
        with Program(other.hello, **ANSWERS):
            pass
    with Daemon() as daemon, Program(daemon.hello):
        pass


def bad_programs_do_not_load():
    with Daemon() as daemon:
        for program in ("sleepable.bpf.o", "writes_ctx.bpf.o"):
            said = refusal(daemon.hello, program=program)
            expect(said in ("load: EINVAL", "load: EACCES"), f"{program}: {said}")


def mounts_have_programs_of_their_own():
    with Daemon("one", 1) as one, Daemon("two", 2) as two, Daemon("three", 3) as three:
        with Program(one.hello, size=111, lookup=1, getattr=1) as first:
            with Program(two.hello, size=222, lookup=1, getattr=1):
                with Hammer(one.hello, 111), Hammer(two.hello, 222), Hammer(three.hello, 3):
                    time.sleep(2)
            equal((one.stat_size(), two.stat_size(), three.stat_size()), (111, 2, 3), "sizes")
            expect(first.report()["served"] > 100, "hardly anything was served")


def detach_under_load():
    with Daemon() as daemon, Hammer(daemon.hello, 6, 4242):
        for _ in range(10):
            with Program(daemon.hello, **ANSWERS) as program:
                wait_for(lambda: program.report()["served"] > 20, "answers")
            equal(daemon.stat_size(), 6, "size after detaching")


def racing_attachers():
    outcomes = []
    with Daemon() as daemon, Hammer(daemon.hello, 6, 4242):
        programs = [Program(daemon.hello, "--detached", **ANSWERS) for _ in range(3)]
        threads = [threading.Thread(target=lambda program=program: outcomes.append(program.race(60))) for program in programs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for program in programs:
            program.detach()
        attached, exists, other = map(sum, zip(*outcomes))
        expect(attached > 10 and exists > 0 and other == 0, f"{attached} attached, {exists} refused, {other} failed")
        equal(daemon.stat_size(), 6, "size afterwards")
    return f"{attached} attached, {exists} refused"


def unload_while_attached_is_refused():
    with Daemon() as daemon:
        with Program(daemon.hello, **ANSWERS):
            done = subprocess.run(["rmmod", "extfuse"], stderr=subprocess.PIPE, text=True, check=False)
            expect(done.returncode != 0, "rmmod went through")
            equal(daemon.stat_size(), 4242, "size")
        tries = unload_module()
        equal(daemon.stat_size(), 6, "size without the module")
        load_module()
        with Program(daemon.hello, **ANSWERS):
            equal(daemon.stat_size(), 4242, "size with a fresh module")
    return f"{tries} times EAGAIN after the detach"


def unload_under_load():
    with Daemon() as daemon, Hammer(daemon.hello, 6, 4242, kinds=("stat", "fstat", "getxattr")):
        for number in range(6):
            with Program(daemon.hello, **ANSWERS) as program:
                wait_for(lambda: program.report()["served"] > 20, "answers")
            # Right after the detach, and after the hook has gone of itself.
            if number % 2:
                wait_for(lambda: not hooked(), "the hook's end")
            unload_module()
            load_module()


def with_other_tracers():
    """Whatever else is on the hooked function must not change what callers get."""
    function = "__fuse_simple_request"

    def served(daemon, label):
        got = daemon.received(lambda: [(equal(daemon.stat_size(), 4242, f"size under {label}"),
                                        equal(os.getxattr(daemon.hello, "user.bpf"), b"from-bpf", f"xattr under {label}"))
                                       for _ in range(50)])
        equal((got["getattr"], got["getxattr"]), (0, 0), f"requests that reached the daemon under {label}")
        equal(error_of(lambda: os.getxattr(daemon.hello, "user.other")), "ENODATA", f"a request passed under {label}")

    def around(daemon, label):
        with Program(daemon.hello, **ANSWERS):
            served(daemon, label)

    with Daemon() as daemon:
        for tracer in ("function", "function_graph"):
            (TRACING / "set_ftrace_filter").write_text(function)
            (TRACING / "set_graph_function").write_text(function)
            try:
                (TRACING / "current_tracer").write_text(tracer)
                around(daemon, tracer)
                expect("fuse_simple" in (TRACING / "trace").read_text(), f"{tracer} saw nothing")
            finally:
                (TRACING / "current_tracer").write_text("nop")
                (TRACING / "set_ftrace_filter").write_text("")
                (TRACING / "set_graph_function").write_text("")
        for kind in "pr":
            (TRACING / "kprobe_events").write_text(f"{kind}:probe {function}")
            (TRACING / "events/kprobes/probe/enable").write_text("1")
            try:
                around(daemon, f"kprobe {kind}")
                expect("probe:" in (TRACING / "trace").read_text(), "the kprobe saw nothing")
            finally:
                (TRACING / "events/kprobes/probe/enable").write_text("0")
                (TRACING / "kprobe_events").write_text("")


def with_a_bpf_trampoline():
    """fexit runs between the hook and the answer, and must see the answer, not what a register happened to hold."""
    for option in ("--fexit", "--fexit-first"):
        with Daemon() as daemon, Program(daemon.hello, option, **ANSWERS) as program:
            for _ in range(50):
                equal(daemon.stat_size(), 4242, "size")
                equal(os.getxattr(daemon.hello, "user.bpf"), b"from-bpf", "xattr")
            report = program.report()
            expect(report["exits"] >= 50, f"fexit saw {report['exits']} calls")
            equal(report["exit_value"], len(b"from-bpf"), "what fexit saw returned")
            equal(error_of(lambda: os.getxattr(daemon.hello, "user.other")), "ENODATA", "a request passed")
            equal(program.report()["exit_value"], -errno.ENODATA, "what fexit saw of a request passed")
            program.set(result=-errno.EACCES)
            equal(error_of(daemon.stat_size), "EACCES", "an error answered")
        wait_for(lambda: not hooked(), "the hook's end")


def ftrace_stays_on_while_attached():
    switch = Path("/proc/sys/kernel/ftrace_enabled")
    with Daemon() as daemon, Program(daemon.hello, **ANSWERS):
        # EBUSY; kernels that let nobody switch it off any more say ENOTSUP.
        expect(error_of(lambda: switch.write_text("0")) in ("EBUSY", "ENOTSUP"), "ftrace could be switched off")
        equal(daemon.stat_size(), 4242, "size")


def taint_is_as_stated():
    """Out of tree (4096) and unsigned (8192), nothing else."""
    taint = int(Path("/proc/sys/kernel/tainted").read_text())
    equal(taint & ~(4096 | 8192), 0, "other taints")


CHECKS = [value for value in list(globals().values())
          if callable(value) and getattr(value, "__module__", "") == "__main__"
          and value.__name__ not in ("error_of", "as_user")]

if __name__ == "__main__":
    os.chdir(HERE)
    only = os.environ.get("ONLY", "").split()
    sys.exit(run_checks([check for check in CHECKS if not only or check.__name__ in only]))
