// SPDX-License-Identifier: GPL-2.0
/*
 * hammer stat|fstat|getxattr FILE COUNT [SIZE...]: calls it COUNT times and prints how many nanoseconds each took, which
 * under -icount is the number of instructions. Exits with 1 on a failed call, or on a size that is none of the SIZEs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>

static int right_size(off_t size, int argc, char **argv)
{
	for (int i = 4; i < argc; i++)
		if (size == atoll(argv[i]))
			return 1;
	return argc == 4;
}

int main(int argc, char **argv)
{
	struct timespec begin, end;
	struct stat st = {};
	char value[64];
	int fd;

	if (argc < 4)
		return 2;
	fd = open(argv[2], O_RDONLY);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (long i = 0; i < atol(argv[3]); i++) {
		int ret = 0;

		if (!strcmp(argv[1], "fstat"))
			ret = fstat(fd, &st);
		else if (!strcmp(argv[1], "stat"))
			ret = stat(argv[2], &st);
		else if (getxattr(argv[2], "user.bpf", value, sizeof(value)) < 0 && errno != ENODATA)
			ret = -1;
		if (ret) {
			fprintf(stderr, "hammer: %s of %s, call %ld: %s\n", argv[1], argv[2], i, strerror(errno));
			return 1;
		}
		if (strcmp(argv[1], "getxattr") && !right_size(st.st_size, argc, argv)) {
			fprintf(stderr, "hammer: %s of %s: size %lld\n", argv[1], argv[2], (long long)st.st_size);
			return 1;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.0f\n", ((end.tv_sec - begin.tv_sec) * 1e9 + end.tv_nsec - begin.tv_nsec) / atol(argv[3]));
	return 0;
}
