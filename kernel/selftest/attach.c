// SPDX-License-Identifier: GPL-2.0
/*
 * attach OBJECT.bpf.o FILE [--fexit | --fexit-first | --drop-admin | --detached | --of-user=UID]
 *
 * Attaches a build of selftest.bpf.c to the mount that FILE, which it opens, is on. Prints "attached" or
 * "PHASE: ERRNO-NAME" (and then exits with 3), where PHASE is load or attach. Then reads commands from standard input:
 * "KNOB NUMBER" sets a knob, "report" prints one line of JSON, "again" attaches the same struct_ops a
 * second time and prints the outcome, "race NUMBER" attaches and detaches so often and prints how often which outcome
 * was, and the end of the input detaches.
 *
 * --fexit watches the hooked function with a BPF trampoline too, put there after the program is attached or, with
 * --fexit-first, before; --drop-admin gives CAP_SYS_ADMIN up before attaching; --detached only loads;
 * --of-user attaches to a mount of that user's only.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "extfuse.h"
#include "knobs.h"

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return getenv("LIBBPF_DEBUG") ? vfprintf(stderr, format, args) : 0;
}

static int outcome(const char *phase, int err)
{
	printf("%s: %s\n", phase, err ? strerrorname_np(abs(err)) : "ok");
	fflush(stdout);
	return err ? 3 : 0;
}

static void report_seen(const char *name, const struct seen *seen)
{
	const char *comma = "";

	printf("\"%s\": {\"count\": {", name);
	for (int i = 0; i < OPCODES; i++) {
		if (!seen->count[i])
			continue;
		printf("%s\"%d\": %llu", comma, i, seen->count[i]);
		comma = ", ";
	}
	printf("}, \"nodeid\": %llu, \"opcode\": %u, \"uid\": %u, \"gid\": %u, \"pid\": %u, \"in_size\": %u, \"out_size\": %u}",
	       seen->nodeid, seen->opcode, seen->uid, seen->gid, seen->pid, seen->in_size, seen->out_size);
}

static void report(const struct notes *notes)
{
	unsigned long long served = 0;

	for (int i = 0; i < OPCODES; i++)
		served += notes->served[i];
	printf("{");
	report_seen("request", &notes->request);
	printf(", ");
	report_seen("change", &notes->change);
	printf(", \"served\": %llu, \"overflow\": %d, \"past_end\": %d, \"before_out\": %d, \"exits\": %llu, \"exit_value\": %d}\n",
	       served, notes->overflow, notes->past_end, notes->before_out, notes->exits, notes->exit_value);
	fflush(stdout);
}

static int set_knob(struct knobs *knobs, const char *name, long long value)
{
	if (!strcmp(name, "lookup"))
		knobs->lookup = value;
	else if (!strcmp(name, "getattr"))
		knobs->getattr = value;
	else if (!strcmp(name, "getxattr"))
		knobs->getxattr = value;
	else if (!strcmp(name, "result"))
		knobs->result = value;
	else if (!strcmp(name, "write"))
		knobs->write = value;
	else if (!strcmp(name, "deny_uid"))
		knobs->deny_uid = value;
	else if (!strcmp(name, "size"))
		knobs->size = value;
	else
		return -1;
	return 0;
}

/* One of the program's global sections, shared with it. */
static void *map_section(struct bpf_object *object, const char *name)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);
	void *memory;

	if (!map)
		return NULL;
	memory = mmap(NULL, bpf_map__value_size(map), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static int drop_admin(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		return -errno;
	data[0].effective &= ~(1u << CAP_SYS_ADMIN);
	return syscall(SYS_capset, &header, data) ? -errno : 0;
}

/* With the descriptor number that the struct_ops carries open again, on the same file. */
static int attach_again(struct bpf_map *ops, const char *path, int number, int hold_us)
{
	struct bpf_link *link;
	int fd = open(path, O_RDONLY), err;

	if (fd < 0 || dup2(fd, number) < 0)
		return -errno;
	link = bpf_map__attach_struct_ops(ops);
	err = link ? 0 : -errno;
	if (link)
		usleep(hold_us);
	bpf_link__destroy(link);
	close(number);
	if (fd != number)
		close(fd);
	return err;
}

static void race(struct bpf_map *ops, const char *path, int number, long long rounds)
{
	int attached = 0, exists = 0, other = 0;

	while (rounds-- > 0) {
		int err = attach_again(ops, path, number, random() % 10000);

		attached += !err;
		exists += err == -EEXIST;
		other += err && err != -EEXIST;
	}
	printf("%d %d %d\n", attached, exists, other);
	fflush(stdout);
}

static int serve(struct bpf_map *ops, const char *path, int number, struct knobs *knobs, const struct notes *notes)
{
	char line[128], name[64];
	long long value;

	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "report\n")) {
			report(notes);
		} else if (!strcmp(line, "again\n")) {
			outcome("attach", attach_again(ops, path, number, 0));
		} else if (sscanf(line, "race %lld", &value) == 1) {
			race(ops, path, number, value);
		} else if (sscanf(line, "%63s %lld", name, &value) != 2 || set_knob(knobs, name, value)) {
			fprintf(stderr, "attach: no such command: %s", line);
			return 2;
		} else {
			puts("set");
			fflush(stdout);
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct bpf_link *link = NULL, *exit_link = NULL;
	struct bpf_program *watch;
	struct bpf_object *object;
	struct knobs *knobs;
	struct notes *notes;
	struct bpf_map *ops;
	__u32 *fd;
	size_t size;
	const char *option = argc > 3 ? argv[3] : "";
	int err, fexit = !strcmp(option, "--fexit"), first = !strcmp(option, "--fexit-first");

	if (argc < 3)
		return 2;
	libbpf_set_print(quiet);
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return outcome("open", -errno);
	bpf_object__for_each_map(ops, object)
		if (bpf_map__type(ops) == BPF_MAP_TYPE_STRUCT_OPS)
			break;
	if (!ops)
		return outcome("open", -ENOENT);
	/* The last members are fd, flags and uid, and then there is padding. */
	fd = bpf_map__initial_value(ops, &size);
	fd += size / sizeof(*fd) - 4;
	if (sscanf(option, "--of-user=%u", &fd[2]) == 1)
		fd[1] = EXTFUSE_OPS_OF_USER;
	*fd = open(argv[2], O_RDONLY);
	if ((int)*fd < 0)
		*fd = 1000; /* no such descriptor: that, too, is tried */
	watch = bpf_object__find_program_by_name(object, "watch_exit");
	if (watch)
		bpf_program__set_autoload(watch, fexit || first);
	err = bpf_object__load(object);
	if (err)
		return outcome("load", err);
	if (!strcmp(option, "--drop-admin") && drop_admin())
		return 2;
	if (first)
		exit_link = bpf_program__attach(watch);
	if (strcmp(option, "--detached")) {
		link = bpf_map__attach_struct_ops(ops);
		if (!link)
			return outcome("attach", -errno);
	}
	close(*fd);
	if (fexit)
		exit_link = bpf_program__attach(watch);
	if ((fexit || first) && !exit_link)
		return outcome("fexit", -errno);
	knobs = map_section(object, ".data.knobs");
	notes = map_section(object, ".data.notes");
	if (!knobs || !notes)
		return outcome("map", -ENOENT);
	puts(link ? "attached" : "detached");
	fflush(stdout);
	err = serve(ops, argv[2], *fd, knobs, notes);
	bpf_link__destroy(exit_link);
	bpf_link__destroy(link);
	bpf_object__close(object);
	return err;
}
