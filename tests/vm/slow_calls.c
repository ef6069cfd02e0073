// SPDX-License-Identifier: Apache-2.0
//
// Preloaded into the daemon by torture.py: after some of the daemon's lower calls it sleeps for a
// moment, so that what happens between a look and its publication, or between a change and its
// reply, happens often. A record that is not closed in time, or a look that is published too late,
// then shows.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static void sometimes_sleep(void) {
    static __thread unsigned state;
    const int error = errno;
    struct timespec pause = {0, 0};

    if (!state) state = (unsigned)(unsigned long)&state | 1;
    state = state * 1664525U + 1013904223U;
    if ((state >> 8) % 8 == 0) {
        pause.tv_nsec = (state >> 16) % 4000 * 1000;
        nanosleep(&pause, NULL);
    }
    errno = error;
}

#define SLOW(type, name, parameters, arguments)                        \
    type name parameters {                                             \
        static type(*real) parameters;                                 \
        type result;                                                   \
                                                                       \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        result = real arguments;                                       \
        sometimes_sleep();                                             \
        return result;                                                 \
    }

SLOW(int, fstat64, (int fd, struct stat64* st), (fd, st))
SLOW(int, fstatat64, (int dir, const char* name, struct stat64* st, int flags),
     (dir, name, st, flags))
SLOW(ssize_t, fgetxattr, (int fd, const char* name, void* value, size_t size),
     (fd, name, value, size))
SLOW(ssize_t, flistxattr, (int fd, char* list, size_t size), (fd, list, size))
SLOW(ssize_t, llistxattr, (const char* path, char* list, size_t size), (path, list, size))
SLOW(int, fchmod, (int fd, mode_t mode), (fd, mode))
SLOW(int, chmod, (const char* path, mode_t mode), (path, mode))
SLOW(int, ftruncate64, (int fd, off64_t size), (fd, size))
SLOW(int, futimens, (int fd, const struct timespec times[2]), (fd, times))
SLOW(int, utimensat, (int dir, const char* name, const struct timespec times[2], int flags),
     (dir, name, times, flags))
SLOW(ssize_t, pwrite64, (int fd, const void* in, size_t size, off64_t at), (fd, in, size, at))
SLOW(ssize_t, pwritev64, (int fd, const struct iovec* in, int count, off64_t at),
     (fd, in, count, at))
SLOW(int, linkat, (int from, const char* name, int to, const char* other, int flags),
     (from, name, to, other, flags))
SLOW(int, unlinkat, (int dir, const char* name, int flags), (dir, name, flags))
SLOW(int, renameat, (int from, const char* name, int to, const char* other),
     (from, name, to, other))
SLOW(int, renameat2, (int from, const char* name, int to, const char* other, unsigned flags),
     (from, name, to, other, flags))
SLOW(int, mkdirat, (int dir, const char* name, mode_t mode), (dir, name, mode))
SLOW(int, fsetxattr, (int fd, const char* name, const void* value, size_t size, int flags),
     (fd, name, value, size, flags))
SLOW(int, fremovexattr, (int fd, const char* name), (fd, name))
