// SPDX-License-Identifier: Apache-2.0
// Times single calls on one directory: prints nanoseconds for each, the median of rounds. Usage:
// calls DIR FILES
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int many;
static int held;

static void die(const char* what) {
    perror(what);
    exit(1);
}

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void drop_names(void) {
    FILE* f = fopen("/proc/sys/vm/drop_caches", "w");
    if (!f || fputs("2\n", f) < 0 || fclose(f)) die("drop_caches");
}

static void name_of(char* buffer, size_t size, const char* stem, int i) {
    snprintf(buffer, size, "%s%d", stem, i);
}

static void call_stat(int i) {
    struct stat is;
    char name[32];
    name_of(name, sizeof name, "f", i);
    if (stat(name, &is)) die("stat");
}

// A name is used once only: nobody has seen that it is missing.
static void call_missing(int i) {
    static int used;
    struct stat is;
    char name[32];
    (void)i;
    name_of(name, sizeof name, "missing", used++);
    if (stat(name, &is) == 0 || errno != ENOENT) die("stat of a missing name");
}

static void ask(int fd, const char* name, int flags) {
    struct statx is;
    if (statx(fd, name, flags | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &is)) die("statx");
}

static void call_stat_asking(int i) {
    char name[32];
    name_of(name, sizeof name, "f", i);
    ask(AT_FDCWD, name, 0);
}

static void call_fstat(int i) {
    (void)i;
    ask(held, "", AT_EMPTY_PATH);
}

static void call_getxattr(int i) {
    char value[64];
    (void)i;
    if (getxattr("f0", "user.none", value, sizeof value) >= 0 || errno != ENODATA) die("getxattr");
}

static int ascending(const void* a, const void* b) {
    const double x = *(const double*)a, y = *(const double*)b;
    return (x > y) - (x < y);
}

static void measure(const char* title, void (*call)(int), int dropped) {
    enum { kRounds = 5 };
    double rounds[kRounds];
    for (int round = -1; round < kRounds; ++round) {  // the first one warms up
        if (dropped) drop_names();
        const double begin = now_ns();
        for (int i = 0; i < many; ++i) call(i);
        if (round >= 0) rounds[round] = (now_ns() - begin) / many;
    }
    qsort(rounds, kRounds, sizeof rounds[0], ascending);
    printf("%s %.0f\n", title, rounds[kRounds / 2]);
}

int main(int argc, char** argv) {
    if (argc != 3 || chdir(argv[1])) die("usage: calls DIR FILES");
    many = atoi(argv[2]);
    for (int i = 0; i < many; ++i) {
        char name[32];
        name_of(name, sizeof name, "f", i);
        const int fd = open(name, O_CREAT | O_WRONLY, 0644);
        if (fd < 0 || write(fd, "x", 1) != 1 || close(fd)) die(name);
    }
    // As `ls -l` does; then what is absent is known.
    for (int i = 0; i < many; ++i) {
        char name[32];
        name_of(name, sizeof name, "f", i);
        if (listxattr(name, NULL, 0) < 0) die("listxattr");
    }
    held = open("f0", O_RDONLY);
    if (held < 0) die("open");
    measure("stat, everything cached", call_stat, 0);
    measure("stat, attributes asked", call_stat_asking, 0);
    measure("stat, names dropped", call_stat, 1);
    measure("fstat, attributes asked", call_fstat, 0);
    measure("getxattr, absent", call_getxattr, 0);
    measure("stat of a missing name", call_missing, 0);
    return 0;
}
