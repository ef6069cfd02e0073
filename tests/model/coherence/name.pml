/* SPDX-License-Identifier: Apache-2.0
 *
 * Two names in one directory, hard links possible; nodes with lookup counts, given back by FORGET;
 * LOOKUP answered from mapped memory; two threads of the daemon, two clients. The programs may be
 * detached and the daemon killed at any time.
 *
 * Below: nm[n] is the inode that name n has or 0, ev[n] counts the changes of that entry, av[i]
 * those of inode i. Reading a record is one step here: attr.pml has the tearing.
 *
 * Each -DMUTATION takes one rule of the protocol away, and must be refuted:
 *   NO_CAS         a lookup is counted after a look at the reference word, not together with it
 *   RETIRE_SPLIT   a node is retired after a look at the count, not together with it
 *   NO_GENERATION  a slot's next node has the same id
 *   NODE_GATE      an inode's gate is closed only if the inode has a node
 *   FIND_FIRST     an inode's record is looked up before its gate is closed
 *   NO_VICTIM      unlink leaves the inode that loses a name open
 *   NO_NAMESPACE   changes of names in one directory overlap
 *   ENTRY_UNCHECKED, ATTR_UNCHECKED  published whatever the gate says
 *   LATE_TOKEN     the token is taken after the lower calls
 *   NO_END_STAMP   the end of a change leaves no mark at the gate
 *   CLOSE_LATE     the entry is closed after the lower call
 *   COUNT_LATE     a lookup is counted after its reply
 *   LOSE_COUNT     the served count is lost, as by an LRU map
 *   TRIM_BLIND     (with KEEP) an idle node goes whatever the count says by then
 *   TRIM_SPLIT     (with KEEP) an idle node goes after a look at the count, not together with it
 * KEEP: a node that the kernel has given back stays, and may be handed out again by a program that finds its name; some
 * later FORGET takes it away, or none.
 * NO_ENTRY_RECHECK is harmless for each object; the recheck makes one snapshot of both.
 */
#ifndef OPS0
#define OPS0 2
#endif
#ifndef OPS1
#define OPS1 OPS0
#endif
#ifndef FORGETS
#define FORGETS 1
#endif
#define INODES 4	/* 1..3 */
#define SLOTS  3
#define MOST   6	/* changes of one entry */
#define NONE   255
#define LOOKUP 1
#define MAKE   2	/* create, or link where the other name exists */
#define UNLINK 3
#define FORGET 4

byte nm[2], ev[2], av[INODES];
byte history[12];			/* the inode of entry n at its version v: [n * MOST + v] */
bool used[INODES];
/* the daemon: gates, of names and of inodes, with one clock; locks; the node table */
byte now;
byte nwriters[2], nstamp[2], iwriters[INODES], istamp[INODES];
bool namespace, table;
byte node_ino[SLOTS], node_gen[SLOTS], given[SLOTS], back[SLOTS]; bool node_used[SLOTS];
/* mapped memory: reference words, attribute records, entries */
byte ref_gen[SLOTS], ref_count[SLOTS]; bool ref_alive[SLOTS];
byte attr_id[SLOTS], attr[SLOTS]; bool attr_open[SLOTS];
byte entry_id[2], entry_version[2]; bool entry_open[2];
/* the kernel */
byte held[16];				/* lookups that it has to give back, by node id */
byte forgets, done;
bool connected = true, attached = true, dead, bye;

chan request = [3] of { byte, byte, byte };	/* op, name or node id, client or count */
chan reply[2] = [1] of { byte, byte, byte };	/* node id, entry version, attribute version */

#define SLOT(id) ((id-1) % SLOTS)
#define GEN(id)  ((id-1) / SLOTS)
#define ID(s)    (node_gen[s] * SLOTS + s + 1)
#define ALIVE(id) (node_used[SLOT(id)] && node_gen[SLOT(id)] == GEN(id))

#ifdef DEATH
#define LIVES provided (!dead)
#else
#define LIVES
#endif

inline set_name(n, i) { nm[n] = i; ev[n]++; assert(ev[n] < MOST); history[n*MOST+ev[n]] = i }

/* the node of inode i, one more lookup */
inline acquire(i, id) {
	atomic { !table -> table = true };
	d_step {
		id = 0; s = 0;
		do
		:: s < SLOTS -> if :: node_used[s] && node_ino[s] == i -> id = ID(s) :: else fi; s++
		:: else -> break
		od;
		s = 0
	}
	if
	:: id != 0
	:: else ->
	   d_step {
		do :: s < SLOTS && node_used[s] -> s++ :: else -> break od;
		assert(s < SLOTS);
		node_used[s] = true; node_ino[s] = i; given[s] = 0; back[s] = 0;
		attr_open[s] = false;
		ref_gen[s] = node_gen[s]; ref_count[s] = 0; ref_alive[s] = true;
		id = ID(s); assert(id < 16); s = 0
	   }
	fi;
#ifndef COUNT_LATE
	given[SLOT(id)]++;
#endif
	table = false
}

inline drop(s) {
	assert(held[ID(s)] == 0);	/* nobody has it, nor can get it */
	node_used[s] = false; node_ino[s] = 0; given[s] = 0; back[s] = 0;
#ifndef NO_GENERATION
	node_gen[s]++
#endif
}

inline publish_attr(t, i, id, v) {
	d_step {
	if
#ifdef ATTR_UNCHECKED
	:: true
#else
	:: istamp[i] <= t && iwriters[i] == 0
#endif
	   -> attr_id[SLOT(id)] = id; attr[SLOT(id)] = v; attr_open[SLOT(id)] = true
	:: else
	fi }
}

inline publish_entry(t, n, id, v, own) {
	d_step {
	if
#ifdef ENTRY_UNCHECKED
	:: true
#else
	:: nstamp[n] <= t && nwriters[n] == own
#endif
	   -> entry_id[n] = id; entry_version[n] = v; entry_open[n] = true
	:: else
	fi }
}

inline begin_name(n) { d_step { now++; nwriters[n]++; nstamp[n] = now; entry_open[n] = false } }
inline end_name(n) {
	d_step {
	nwriters[n]--;
#ifndef NO_END_STAMP
	now++; nstamp[n] = now
#endif
	}
}

/* A gate knows the records of its inode: both are closed in one step. */
inline begin_inode(i) {
#ifdef FIND_FIRST
	d_step { s = 0; do :: s < SLOTS && !(node_used[s] && node_ino[s] == i) -> s++ :: else -> break od };
	d_step { now++; iwriters[i]++; istamp[i] = now; closed = 1; if :: s < SLOTS -> attr_open[s] = false :: else fi; s = 0 }
#else
	d_step {
		s = 0; do :: s < SLOTS && !(node_used[s] && node_ino[s] == i) -> s++ :: else -> break od;
#ifdef NODE_GATE
		if :: s < SLOTS -> now++; iwriters[i]++; istamp[i] = now; closed = 1 :: else fi;
#else
		now++; iwriters[i]++; istamp[i] = now; closed = 1;
#endif
		if :: s < SLOTS -> attr_open[s] = false :: else fi; s = 0
	}
#endif
}
inline end_inode(i) {
	d_step {
	if
	:: closed ->
	   iwriters[i]--;
#ifndef NO_END_STAMP
	   now++; istamp[i] = now
#endif
	:: else
	fi;
	closed = 0 }
}

proctype daemon() LIVES {
	byte op, n, c, i, id, t, e, a, s, closed, r;
end:	do
	:: request?op,n,c ->
	   if
	   :: op == LOOKUP ->
#ifndef LATE_TOKEN
		t = now;			/* one token for all that is read after it */
#endif
		d_step { i = nm[n]; e = ev[n] };
		if
		:: i == 0 ->
		   id = 0;
#ifdef LATE_TOKEN
		   t = now;
#endif
		   publish_entry(t, n, 0, e, 0)
		:: else ->
		   a = av[i];
#ifdef LATE_TOKEN
		   t = now;
#endif
		   acquire(i, id);
		   publish_attr(t, i, id, a);
		   publish_entry(t, n, id, e, 0)
		fi;
		reply[c]!id,e,a
#ifdef COUNT_LATE
		; if :: id != 0 -> given[SLOT(id)]++ :: else fi
#endif
	   :: op == MAKE || op == UNLINK ->
#ifndef NO_NAMESPACE
		atomic { !namespace -> namespace = true };
#endif
#ifndef CLOSE_LATE
		begin_name(n);
#endif
		i = nm[n];
		if
		:: op == UNLINK && i != 0 ->
#ifndef NO_VICTIM
		   begin_inode(i);
#endif
		   d_step { set_name(n, 0); av[i]++; e = ev[n] };
#ifndef NO_VICTIM
		   end_inode(i);
#endif
		   id = 0
		:: op == MAKE && i == 0 ->
		   if
		   :: nm[1-n] != 0 -> i = nm[1-n]
		   :: else -> d_step { i = 1; do :: used[i] -> i++ :: else -> break od; assert(i < INODES); used[i] = true }
		   fi;
		   begin_inode(i);
		   d_step { set_name(n, i); av[i]++; e = ev[n]; a = av[i] };
		   acquire(i, id);
		   end_inode(i)
		:: else -> d_step { e = ev[n]; id = NONE }	/* it exists, or does not */
		fi;
#ifdef CLOSE_LATE
		begin_name(n);
#endif
		t = now;
		if :: id != NONE -> publish_entry(t, n, id, e, 1) :: else fi;
		end_name(n);
#ifndef NO_NAMESPACE
		namespace = false;
#endif
		reply[c]!id,e,a
	   :: op == FORGET ->			/* n: node id, c: how many */
		atomic { !table -> table = true };
		s = SLOT(n);
		assert(ALIVE(n));
		back[s] = back[s] + c;
#ifdef KEEP
		if
		:: true
		:: s = 0				/* any that is idle, as far as this side knows */
		:: s = 1
		:: s = 2
		fi;
		if
		:: node_used[s] && back[s] >= given[s] ->
#ifdef TRIM_BLIND
		   ref_alive[s] = false; d_step { drop(s) }
#else
#ifdef TRIM_SPLIT
		   if :: ref_count[s] == back[s] - given[s] -> ref_alive[s] = false; d_step { drop(s) } :: else fi
#else
		   atomic { if :: ref_count[s] == back[s] - given[s] -> ref_alive[s] = false; d_step { drop(s) } :: else fi }
#endif
#endif
		:: else
		fi;
#else
		r = ref_count[s];
		if
		:: back[s] == given[s] + r ->
#ifdef RETIRE_SPLIT
		   ref_alive[s] = false; d_step { drop(s) }
#else
		   atomic { if :: ref_count[s] == r -> ref_alive[s] = false; d_step { drop(s) } :: else fi }
#endif
		:: else
		fi;
#endif
		table = false
	   fi;
	   d_step { op = 0; n = 0; c = 0; i = 0; id = 0; t = 0; e = 0; a = 0; s = 0; closed = 0; r = 0 }
	od
}

proctype client(byte me) {
	byte k, op, n, e0, id, e, a, s; byte a0[INODES];
	do
	:: k < (me == 0 -> OPS0 : OPS1) ->
	   if :: op = LOOKUP :: op = MAKE :: op = UNLINK fi;
	   if :: n = 0 :: n = 1 fi;
	   d_step { e0 = ev[n]; a0[1] = av[1]; a0[2] = av[2]; a0[3] = av[3]; id = NONE };
	   if
	   :: op == LOOKUP && connected && attached ->		/* the BPF program */
		if :: entry_open[n] -> d_step { id = entry_id[n]; e = entry_version[n] } :: else -> goto pass fi;
		if
		:: id == 0
		:: else ->
		   s = SLOT(id);
		   d_step { if :: attr_open[s] && attr_id[s] == id -> a = attr[s] :: else -> id = NONE fi };
		   if :: id == NONE -> goto pass :: else fi;
#ifndef NO_ENTRY_RECHECK
		   if :: entry_open[n] && entry_version[n] == e && entry_id[n] == id :: else -> id = NONE; goto pass fi;
#endif
#ifdef NO_CAS
		   if :: ref_alive[s] && ref_gen[s] == GEN(id) :: else -> id = NONE; goto pass fi;
		   ref_count[s]++
#else
		   atomic { if :: ref_alive[s] && ref_gen[s] == GEN(id) -> ref_count[s]++ :: else -> id = NONE; goto pass fi }
#endif
		fi;
		goto got
	   :: else
	   fi;
pass:	   if
	   :: connected ->
		request!op,n,me;
		if :: reply[me]?id,e,a :: !connected -> goto next fi
	   :: else -> goto next
	   fi;
got:	   if
	   :: id != NONE ->
		atomic {
		assert(e0 <= e && e <= ev[n]);		/* an entry that was there during the call */
		if
		:: id == 0 -> assert(history[n*MOST+e] == 0)
		:: else ->
		   s = history[n*MOST+e];
		   assert(s != 0);
		   assert(dead || ALIVE(id));		/* never a dropped node */
		   assert(dead || node_ino[SLOT(id)] == s);	/* nor another file's */
		   assert(a0[s] <= a && a <= av[s]);	/* and attributes likewise */
		   held[id]++
		fi }
	   :: else
	   fi;
next:	   atomic { k++; op = 0; n = 0; e0 = 0; a0[1] = 0; a0[2] = 0; a0[3] = 0; id = 0; e = 0; a = 0; s = 0 }
	:: else -> break
	od;
	done++
}

/* The kernel's: a node is evicted (all its lookups) or one lookup given back; at the end, all. */
proctype forgetter() {
	byte id, k;
	do
	:: forgets < FORGETS && done < 2 ->
	   atomic {
	   id = 1;
	   do
	   :: id < 15 && held[id] == 0 -> id++
	   :: id < 15 && held[id] > 0 -> if :: id++ :: break fi
	   :: id == 15 -> break
	   od;
	   if
	   :: held[id] > 0 && len(request) < 3 ->
		if :: k = held[id] :: k = 1 fi;
		held[id] = held[id] - k; forgets++; request!FORGET,id,k; k = 0
	   :: else
	   fi;
	   id = 0 }
	:: done == 2 -> break
	od;
	id = 1;
	do
	:: id < 16 ->
	   atomic { if :: held[id] > 0 && connected -> k = held[id]; held[id] = 0; request!FORGET,id,k; k = 0 :: else fi };
	   id++
	:: else -> break
	od;
	bye = true
}

#ifdef LOSE_COUNT
active proctype evictor() { byte s; do :: s < SLOTS-1 -> s++ :: break od; ref_count[s] = 0; s = 0 }
#endif
#ifdef DETACH
active proctype detacher() { attached = false }
#endif
#ifdef DEATH
active proctype killer() { if :: dead = true; connected = false :: skip fi }
#endif

/* Balanced: when all was given back and the daemon is idle, no node is left, or none with a reference. */
active proctype judge() {
	atomic {
	timeout ->
#ifndef DEATH
	assert(bye && empty(request));
#ifdef KEEP
	assert(given[0] + ref_count[0] == back[0] || !node_used[0]);
	assert(given[1] + ref_count[1] == back[1] || !node_used[1]);
	assert(given[2] + ref_count[2] == back[2] || !node_used[2])
#else
	assert(!node_used[0] && !node_used[1] && !node_used[2])
#endif
#else
	assert(done == 2)
#endif
	}
}

init {
	atomic {
	nm[0] = 1; used[1] = true; history[0] = 1;
#ifdef LINKED
	nm[1] = 1; history[MOST] = 1;
#endif
	run daemon(); run daemon(); run client(0); run client(1); run forgetter()
	}
}
