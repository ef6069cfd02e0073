/* SPDX-License-Identifier: GPL-2.0 */
/* What selftest.bpf.c and attach.c share, in the program's global memory. Only 32 and 64 bit members, no padding. */
#ifndef KNOBS_H
#define KNOBS_H

#define HELLO_NODE 2
#define OPCODES 64

enum { WRITE_ALL, WRITE_NOTHING, WRITE_HALF, WRITE_IN_PIECES };

/* Set by user space. */
struct knobs {
	int lookup;		/* answer it for "hello"; else pass */
	int getattr;
	int getxattr;
	int result;		/* what lookup and getattr then return */
	int write;		/* and what they write before */
	unsigned int deny_uid;	/* whom access, open and opendir refuse; 0 = nobody */
	unsigned long long size;
};

/* The last request shown, and how many of each opcode. */
struct seen {
	unsigned long long count[OPCODES];
	unsigned long long nodeid;
	unsigned int opcode, uid, gid, pid, in_size, out_size;
};

/* Set by the program. */
struct notes {
	struct seen request;
	struct seen change;	/* shown to before() */
	unsigned long long served[OPCODES];
	int overflow, past_end;	/* what the kfuncs said to too much */
	int before_out;
	int exit_value;		/* what fexit saw the last GETXATTR return */
	unsigned long long exits;
};

#endif /* KNOBS_H */
