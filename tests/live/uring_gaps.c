// SPDX-License-Identifier: Apache-2.0
// Preloaded into a daemon whose requests come over io_uring: a thread that hands work to the kernel
// pauses between what it reads of the queue and what it does with it, as if it were preempted
// there. Other threads submit meanwhile.
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

static const unsigned kPause = 200;  // us

// As liburing has it, with the pause.
int io_uring_submit_and_wait(struct io_uring* ring, unsigned wait_nr) {
    struct io_uring_sq* sq = &ring->sq;
    unsigned tail = sq->sqe_tail;

    usleep(kPause);
    if (sq->sqe_head != tail) {
        sq->sqe_head = tail;
        io_uring_smp_store_release(sq->ktail, tail);
    }
    return io_uring_enter(ring->ring_fd, tail - *sq->khead, wait_nr, IORING_ENTER_GETEVENTS, NULL);
}

int io_uring_enter(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                   sigset_t* sig) {
    usleep(kPause);
    return (int)syscall(SYS_io_uring_enter, fd, to_submit, min_complete, flags, sig, 0);
}
