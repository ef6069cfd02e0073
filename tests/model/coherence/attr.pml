/* SPDX-License-Identifier: Apache-2.0
 *
 * One inode: its gate in the daemon, its record in mapped memory, readers of that record that no
 * lock keeps out (the BPF programs), two threads of the daemon, two clients; the daemon may be
 * killed anywhere.
 *
 * `low` is the state of the lower inode. It only grows, by one with each change, so an answer v is
 * one that the file had at some instant between call and return iff
 *     low at the call <= v <= low at the return.
 *
 * Each -DMUTATION takes one rule of the protocol away, and must be refuted:
 *   NO_CHECK      publishes whatever the gate says
 *   SPLIT_CHECK   looks at the gate first, and writes the record under the mutex afterwards
 *   LATE_TOKEN    takes the token after it has read
 *   NO_WRITERS    publishes although a change is under way
 *   NO_END_STAMP  the end of a change leaves no mark at the gate
 *   CLOSE_LATE    closes the record after the lower call
 *   LAST_WINS     the last of overlapping changes publishes what it read, unchecked
 *   NO_FENCE      the closing store may still wait in the processor at the lower call
 *   NO_ODD        the reader does not mind a closed record
 *   NO_RECHECK    the reader does not look at the version again
 * REPLY_FIRST (a change is answered before its result is published) is harmless.
 */
#ifndef OPS0
#define OPS0 2
#endif
#ifndef OPS1
#define OPS1 OPS0
#endif
#define GET    1
#define SET    2
#define NONE   255
#define FAILED 254

byte low;
byte now;			/* the clock of all gates: begins and ends of changes */
bool mutex;			/* of the gate */
byte writers, stamp;		/* the gate: changes under way, the clock at the last begin or end */
byte version = 1, left, right;	/* the record; an odd version is closed */
bool buffered;			/* NO_FENCE: the closing store is not visible yet */
bool dead, connected = true;
chan request = [2] of { byte, byte };
chan reply[2] = [1] of { byte };

#define LOCK   atomic { !mutex -> mutex = true }
#define UNLOCK mutex = false

#ifdef DEATH
#define LIVES provided (!dead)
#else
#define LIVES
#endif

inline make_odd() { if :: version & 1 :: else -> version++ fi }

inline write_record(x) {
#ifdef NO_FENCE
	!buffered;		/* the stores of one thread stay in order */
#endif
	make_odd(); left = x; right = x; version++
}

inline begin_change() {
	LOCK;
	d_step { writers++; now++; stamp = now };
#ifdef NO_FENCE
	buffered = true;
#else
	make_odd();
#endif
	UNLOCK
}

/* own: the changes under way that are the publisher's: 0 of a reader, 1 of a change */
inline publish(t, x, own) {
#if defined(NO_CHECK)
	write_record(x)
#elif defined(NO_WRITERS)
	if :: stamp <= t -> write_record(x) :: else fi
#else
	if :: stamp <= t && writers == own -> write_record(x) :: else fi
#endif
}

proctype daemon() LIVES {
	byte op, client, t, x;
end:	do
	:: request?op,client ->
	   if
	   :: op == GET ->
#ifndef LATE_TOKEN
		t = now;
#endif
		x = low;				/* fstat */
#ifdef LATE_TOKEN
		t = now;
#endif
#ifdef SPLIT_CHECK
		if :: stamp <= t && writers == 0 -> LOCK; write_record(x); UNLOCK :: else fi;
#else
		LOCK; publish(t, x, 0); UNLOCK;
#endif
		reply[client]!x
	   :: op == SET ->
#ifndef CLOSE_LATE
		begin_change();
#endif
		low++;					/* the lower call */
#ifdef REPLY_FIRST
		reply[client]!low;
#endif
#ifdef CLOSE_LATE
		begin_change();
#endif
		t = now;
		x = low;				/* fstat */
		LOCK;
#ifdef LAST_WINS
		if :: writers == 1 -> write_record(x) :: else fi;
#else
		publish(t, x, 1);
#endif
		UNLOCK;
		LOCK;
		d_step {
		writers--;
#ifndef NO_END_STAMP
		now++; stamp = now
#endif
		};
		UNLOCK;
#ifndef REPLY_FIRST
		reply[client]!x
#endif
	   fi;
	   d_step { op = 0; client = 0; t = 0; x = 0 }
	od
}

#ifdef NO_FENCE
active proctype store_buffer() {
end:	do :: atomic { buffered -> buffered = false; make_odd() } od
}
#endif

proctype client(byte me) {
	byte n, op, before, v, seen, a, b;
	do
	:: n < (me == 0 -> OPS0 : OPS1) ->
	   if :: op = GET :: op = SET fi;
	   before = low;
	   v = NONE;
	   if
	   :: op == GET && connected ->			/* the BPF program */
		seen = version;
#ifndef NO_ODD
		if :: seen & 1 -> goto pass :: else fi;
#endif
		a = left; b = right;
#ifndef NO_RECHECK
		if :: seen != version -> goto pass :: else fi;
#endif
		assert(a == b);
		v = a
	   :: else
	   fi;
pass:	   if
	   :: v == NONE && connected ->
		request!op,me;
		if
		:: reply[me]?v
		:: !connected -> if :: reply[me]?v :: empty(reply[me]) -> v = FAILED fi
		fi
	   :: v == NONE && !connected -> v = FAILED
	   :: else
	   fi;
	   if
	   :: v != FAILED ->
		assert(before <= v && v <= low);
		assert(op == GET || v > before)
	   :: else
	   fi;
	   d_step { n++; op = 0; before = 0; v = 0; seen = 0; a = 0; b = 0 }
	:: else -> break
	od
}

#ifdef DEATH
active proctype killer() { if :: dead = true; connected = false :: skip fi }
#endif

init { atomic { run daemon(); run daemon(); run client(0); run client(1) } }
