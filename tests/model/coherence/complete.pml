/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory whose listing is known to be complete, so that a name not found in the table does not
 * exist: two names, a table with room for ONE of them (every insertion of the other evicts), rename
 * and exchange. The directory's gate is that of its inode: every change of names closes it.
 *
 * An answer is (exists or not, version of that entry); versions only grow.
 *
 * Each -DMUTATION takes one rule of the protocol away, and must be refuted:
 *   SILENT_EVICTION   an eviction leaves the directory complete, as in an LRU map
 *   EVICT_FIRST       the way is reused before the directory is incomplete
 *   NO_BUSY           a change does not hold a way for its name from before the lower call
 *   NO_DIR_TOKEN      a pass does not mind changes of names meanwhile
 *   NO_EVICTION_TOKEN a pass does not mind evictions meanwhile
 *   NO_RECHECK        the reader does not look at the directory's version again
 *   ONE_NAME          rename closes its first name only
 *   OPEN_EARLY        rename opens its first name before the lower call
 */
#ifndef OPS0
#define OPS0 2
#endif
#ifndef OPS1
#define OPS1 OPS0
#endif
#define NONE 255
#define MOST 12
#define LOOKUP 1
#define CREATE 2
#define UNLINK 3
#define RENAME 4	/* name n over name 1-n, or both exchanged */
#define LIST   5	/* a pass over the directory */

byte nm[2], ev[2]; bool history[24];
byte now;
byte nwriters[2], nstamp[2], dwriters, dstamp;
bool bucket, dirgate, namespace;
byte way = NONE, version; bool exists, open_way;	/* the one way; closed is BUSY */
byte complete = 1;	/* odd: not known to be; every eviction changes it */
chan request = [2] of { byte, byte, byte };
chan reply[2] = [1] of { bool, byte };

#define LOCK   atomic { !bucket -> bucket = true }
#define UNLOCK bucket = false

inline set(f_n, f_x) { nm[f_n] = f_x; ev[f_n]++; assert(ev[f_n] < MOST); history[(f_n)*MOST+ev[f_n]] = f_x }

inline incomplete() {		/* without a lock: by compare-and-swap */
#ifdef NO_EVICTION_TOKEN
	d_step { if :: complete & 1 :: else -> complete++ fi }
#else
	d_step { if :: complete & 1 -> complete = complete + 2 :: else -> complete++ fi }
#endif
}

inline take_way(f_n) {		/* the way becomes a BUSY one of f_n */
	if
	:: way == f_n -> open_way = false
	:: way == NONE -> d_step { open_way = false; way = f_n }
	:: else ->
#if defined(EVICT_FIRST)
	   d_step { way = f_n; open_way = false }; incomplete()
#elif defined(SILENT_EVICTION)
	   d_step { way = f_n; open_way = false }
#else
	   incomplete(); d_step { way = f_n; open_way = false }
#endif
	fi
}
inline put(f_n, f_x, f_e) { take_way(f_n); d_step { exists = f_x; version = f_e; open_way = true } }

inline publish(f_t, f_n, f_x, f_e, f_own) {
	LOCK;
	if :: nstamp[f_n] <= f_t && nwriters[f_n] == f_own -> put(f_n, f_x, f_e) :: else fi;
	UNLOCK
}
inline begin_name(f_n) {
	LOCK;
	d_step { now++; nwriters[f_n]++; nstamp[f_n] = now; if :: way == f_n -> open_way = false :: else fi };
#ifndef NO_BUSY
	take_way(f_n);
#endif
	UNLOCK
}
inline end_name(f_n) { d_step { now++; nwriters[f_n]--; nstamp[f_n] = now } }

proctype daemon() {
	byte op, n, c, t, e, e2, seen; bool x, x2, all;
end:	do
	:: request?op,n,c ->
	   if
	   :: op == LOOKUP ->
		t = now;
		d_step { x = nm[n]; e = ev[n] };
		publish(t, n, x, e, 0);
		reply[c]!x,e
	   :: op == LIST ->
		t = now;
		seen = complete; all = true;
		n = 0;
		do
		:: n < 2 ->
		   d_step { x = nm[n]; e = ev[n] };
		   if
		   :: x ->
			LOCK;
			if :: nstamp[n] <= t && nwriters[n] == 0 -> put(n, x, e) :: else -> all = false fi;
			UNLOCK
		   :: else
		   fi;
		   n++
		:: else -> break
		od;
		atomic { !dirgate -> dirgate = true };
		if
#ifdef NO_DIR_TOKEN
		:: true ->
#else
		:: dstamp <= t && dwriters == 0 && all ->
#endif
		   d_step { if :: seen == complete && (complete & 1) -> complete++ :: else fi }	/* compare and swap */
#ifndef NO_DIR_TOKEN
		:: else
#endif
		fi;
		dirgate = false;
		reply[c]!0,NONE
	   :: else ->
		atomic { !namespace -> namespace = true };
		atomic { !dirgate -> dirgate = true }; d_step { now++; dwriters++; dstamp = now }; dirgate = false;
		begin_name(n);
		if
		:: op == RENAME ->
#ifndef ONE_NAME
		   begin_name(1-n);
#endif
#ifdef OPEN_EARLY
		   LOCK; put(n, 0, ev[n]+1); UNLOCK;
#endif
		   if
		   :: nm[n] ->
			if
			:: d_step { set(1-n, 1); set(n, 0); x = 0; e = ev[n]; x2 = 1; e2 = ev[1-n] }
			:: nm[1-n] -> d_step { set(1-n, 1); set(n, 1); x = 1; e = ev[n]; x2 = 1; e2 = ev[1-n] }
			fi
		   :: else -> d_step { x = nm[n]; e = ev[n]; x2 = nm[1-n]; e2 = ev[1-n] }
		   fi
		:: op == CREATE -> d_step { if :: !nm[n] -> set(n, 1) :: else fi; x = 1; e = ev[n] }
		:: op == UNLINK -> d_step { if :: nm[n] -> set(n, 0) :: else fi; x = 0; e = ev[n] }
		fi;
		t = now;
#ifndef OPEN_EARLY
		publish(t, n, x, e, 1);
#endif
#ifndef ONE_NAME
		if :: op == RENAME -> publish(t, 1-n, x2, e2, 1); end_name(1-n) :: else fi;
#endif
		end_name(n);
		atomic { !dirgate -> dirgate = true }; d_step { now++; dwriters--; dstamp = now }; dirgate = false;
		namespace = false;
		reply[c]!x,e
	   fi;
	   d_step { op = 0; n = 0; c = 0; t = 0; e = 0; e2 = 0; seen = 0; x = 0; x2 = 0; all = 0 }
	od
}

proctype client(byte me) {
	byte k, op, n, e0, e, seen; bool x;
	do
	:: k < (me == 0 -> OPS0 : OPS1) ->
	   if :: op = LOOKUP :: op = CREATE :: op = UNLINK :: op = RENAME :: op = LIST fi;
	   if :: op != LIST -> if :: n = 0 :: n = 1 fi :: else fi;
	   e0 = ev[n];
	   if
	   :: op == LOOKUP ->				/* the BPF program */
		seen = complete;
		if
		:: atomic { way == n && open_way -> x = exists; e = version }; goto got
		:: atomic { way == n && !open_way -> goto pass }
		:: way != n ->
		   if :: seen & 1 -> goto pass :: else fi;
#ifndef NO_RECHECK
		   if :: seen != complete -> goto pass :: else fi;
#endif
		   /* absent, says completeness: some version that was there during the call */
		   atomic {
		   e = e0;
		   do :: e < ev[n] && history[n*MOST+e] -> e++ :: else -> break od;
		   assert(!history[n*MOST+e]); goto next }
		fi
	   :: else
	   fi;
pass:	   request!op,n,me; reply[me]?x,e;
got:	   if :: op != LIST -> atomic { assert(e0 <= e && e <= ev[n]); assert(history[n*MOST+e] == x) } :: else fi;
next:	   atomic { k++; op = 0; n = 0; e0 = 0; e = 0; x = 0; seen = 0 }
	:: else -> break
	od
}

init { atomic { if :: nm[0] = 1; history[0] = 1 :: skip fi; run daemon(); run daemon(); run client(0); run client(1) } }
