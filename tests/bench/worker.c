// SPDX-License-Identifier: Apache-2.0
// The benchmark's client: each subcommand does one kind of file work and prints the seconds that
// the work took, so that starting a process is not part of the figure and every file system gets
// the same client. Knows nothing of which file system it runs on.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { kReadChunk = 128 * 1024, kStreamChunk = 1024 * 1024, kPathSize = 4096 };

static uint64_t g_files, g_bytes;  // what the walks met

static void fail(const char* what, const char* path) {
    fprintf(stderr, "worker: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t number(const char* text) {
    char* end = NULL;
    uint64_t n = strtoull(text, &end, 10);
    if (end == text || *end) {
        fprintf(stderr, "worker: not a number: %s\n", text);
        exit(2);
    }
    return n;
}

static void path_of(char* out, const char* format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out, kPathSize, format, args);
    va_end(args);
    if (n < 0 || n >= kPathSize) {
        fprintf(stderr, "worker: path too long\n");
        exit(1);
    }
}

// Bytes that do not compress and differ from chunk to chunk (xorshift64).
static void fill(unsigned char* buf, size_t size, uint64_t seed) {
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(buf + i, &x, 8);
    }
}

static unsigned char* buffer(size_t size) {
    unsigned char* buf = NULL;
    if (posix_memalign((void**)&buf, 4096, size)) fail("allocate", "");
    fill(buf, size, size);
    return buf;
}

static int open_or_fail(const char* path, int flags) {
    int fd = open(path, flags | O_CLOEXEC, 0644);
    if (fd < 0) fail("open", path);
    return fd;
}

static void close_or_fail(int fd, const char* path) {
    if (close(fd)) fail("close", path);
}

static void write_at(int fd, const void* buf, size_t size, uint64_t off, const char* path) {
    if (pwrite(fd, buf, size, (off_t)off) != (ssize_t)size) fail("write", path);
}

// create DIR COUNT SIZE: COUNT new files of SIZE bytes in DIR (which it makes).
static double create(char** args) {
    uint64_t count = number(args[1]), size = number(args[2]);
    unsigned char* buf = buffer(size + 8);
    char path[kPathSize];
    double start = now();
    if (mkdir(args[0], 0755)) fail("mkdir", args[0]);
    for (uint64_t i = 0; i < count; i++) {
        path_of(path, "%s/file-%06llu.dat", args[0], (unsigned long long)i);
        int fd = open_or_fail(path, O_WRONLY | O_CREAT | O_EXCL);
        write_at(fd, buf, size, 0, path);
        close_or_fail(fd, path);
    }
    return now() - start;
}

// many DIR COUNT PER_DIR: COUNT empty files, PER_DIR to a directory.
static double many(char** args) {
    uint64_t count = number(args[1]), per_dir = number(args[2]);
    char path[kPathSize];
    double start = now();
    if (mkdir(args[0], 0755)) fail("mkdir", args[0]);
    for (uint64_t i = 0; i < count; i++) {
        unsigned long long dir = i / per_dir;
        if (i % per_dir == 0) {
            path_of(path, "%s/dir-%05llu", args[0], dir);
            if (mkdir(path, 0755)) fail("mkdir", path);
        }
        path_of(path, "%s/dir-%05llu/file-%07llu", args[0], dir, (unsigned long long)i);
        close_or_fail(open_or_fail(path, O_WRONLY | O_CREAT | O_EXCL), path);
    }
    return now() - start;
}

// missing DIR COUNT NAMES: COUNT stats that find nothing, going round NAMES names, as a compiler's
// search along its include directories does.
static double missing(char** args) {
    uint64_t count = number(args[1]), names = number(args[2]);
    char path[kPathSize];
    struct stat st;
    double start = now();
    for (uint64_t i = 0; i < count; i++) {
        path_of(path, "%s/no-such-header-%llu.h", args[0], (unsigned long long)(i % names));
        if (stat(path, &st) == 0 || errno != ENOENT) fail("expected ENOENT for", path);
    }
    return now() - start;
}

// write_stat FILE COUNT SIZE: append SIZE bytes and stat the path, COUNT times.
static double write_stat(char** args) {
    uint64_t count = number(args[1]), size = number(args[2]);
    unsigned char* buf = buffer(size + 8);
    struct stat st;
    double start = now();
    int fd = open_or_fail(args[0], O_WRONLY | O_CREAT | O_TRUNC);
    for (uint64_t i = 0; i < count; i++) {
        write_at(fd, buf, size, i * size, args[0]);
        if (stat(args[0], &st)) fail("stat", args[0]);
        if ((uint64_t)st.st_size != (i + 1) * size) {
            fprintf(stderr, "worker: wrong size after write: %lld\n", (long long)st.st_size);
            exit(1);
        }
    }
    close_or_fail(fd, args[0]);
    return now() - start;
}

static void visit_file(int dir, const char* name, unsigned char* buf) {
    g_files++;
    if (!buf) {
        struct stat st;
        if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW)) fail("stat", name);
        g_bytes += (uint64_t)st.st_size;
        return;
    }
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) fail("open", name);
    ssize_t n;
    while ((n = read(fd, buf, kReadChunk)) > 0) g_bytes += (uint64_t)n;
    if (n < 0) fail("read", name);
    close_or_fail(fd, name);
}

// Goes through everything below `fd` (which it closes); reads the files when there is a buffer.
static void visit_dir(int fd, unsigned char* buf) {
    DIR* dir = fdopendir(fd);
    if (!dir) fail("opendir", "");
    struct dirent* entry;
    while (errno = 0, (entry = readdir(dir))) {
        const char* name = entry->d_name;
        if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
        if (entry->d_type == DT_UNKNOWN) {
            fprintf(stderr, "worker: %s: readdir gives no type\n", name);
            exit(1);
        }
        if (entry->d_type == DT_DIR) {
            int child = openat(dirfd(dir), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
            if (child < 0) fail("open directory", name);
            visit_dir(child, buf);
        } else if (entry->d_type == DT_REG || !buf) {
            visit_file(dirfd(dir), name, buf);
        }
    }
    if (errno) fail("readdir", "");
    closedir(dir);
}

static double visit(const char* path, unsigned char* buf) {
    double start = now();
    visit_dir(open_or_fail(path, O_RDONLY | O_DIRECTORY), buf);
    double taken = now() - start;
    fprintf(stderr, "files %llu bytes %llu\n", (unsigned long long)g_files,
            (unsigned long long)g_bytes);
    return taken;
}

// walk DIR: stat everything below. read_all DIR: read every file below.
static double walk(char** args) {
    return visit(args[0], NULL);
}
static double read_all(char** args) {
    return visit(args[0], buffer(kReadChunk));
}

// seq_write FILE BYTES: 1 MiB at a time, then close.
static double seq_write(char** args) {
    uint64_t size = number(args[1]);
    unsigned char* buf = buffer(kStreamChunk);
    double start = now();
    int fd = open_or_fail(args[0], O_WRONLY | O_CREAT | O_TRUNC);
    for (uint64_t off = 0; off < size; off += kStreamChunk) {
        write_at(fd, buf, kStreamChunk, off, args[0]);
    }
    close_or_fail(fd, args[0]);
    return now() - start;
}

// seq_read FILE BYTES: to the end, which must be at BYTES.
static double seq_read(char** args) {
    uint64_t size = number(args[1]), got = 0;
    unsigned char* buf = buffer(kReadChunk);
    double start = now();
    int fd = open_or_fail(args[0], O_RDONLY);
    ssize_t n;
    while ((n = read(fd, buf, kReadChunk)) > 0) got += (uint64_t)n;
    if (n < 0 || got != size) fail("short read of", args[0]);
    close_or_fail(fd, args[0]);
    return now() - start;
}

static double random_io(char** args, int writing) {
    uint64_t size = number(args[1]), count = number(args[2]), piece = number(args[3]);
    unsigned char* buf = buffer(piece + 8);
    uint64_t x = 88172645463325252ull;
    double start = now();
    int fd = open_or_fail(args[0], writing ? O_WRONLY : O_RDONLY);
    for (uint64_t i = 0; i < count; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t off = x % (size / piece) * piece;
        if (writing) {
            write_at(fd, buf, piece, off, args[0]);
        } else if (pread(fd, buf, piece, (off_t)off) != (ssize_t)piece) {
            fail("read", args[0]);
        }
    }
    close_or_fail(fd, args[0]);
    return now() - start;
}

// rand_read, rand_write FILE BYTES COUNT SIZE: aligned pieces, the same places for everybody.
static double rand_read(char** args) {
    return random_io(args, 0);
}
static double rand_write(char** args) {
    return random_io(args, 1);
}

int main(int argc, char** argv) {
    static const struct {
        const char* name;
        int args;
        double (*run)(char**);
    } kCommands[] = {{"create", 3, create},       {"many", 3, many},
                     {"missing", 3, missing},     {"write_stat", 3, write_stat},
                     {"walk", 1, walk},           {"read_all", 1, read_all},
                     {"seq_write", 2, seq_write}, {"seq_read", 2, seq_read},
                     {"rand_read", 4, rand_read}, {"rand_write", 4, rand_write}};
    for (size_t i = 0; i < sizeof kCommands / sizeof *kCommands; i++) {
        if (argc == kCommands[i].args + 2 && !strcmp(argv[1], kCommands[i].name)) {
            printf("%.6f\n", kCommands[i].run(argv + 2));
            return 0;
        }
    }
    fprintf(stderr, "worker: unknown command or wrong number of arguments\n");
    return 2;
}
