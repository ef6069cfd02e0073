// SPDX-License-Identifier: GPL-2.0
/*
 * extfuse: BPF programs that answer FUSE requests before the daemon is woken.
 *
 * This file owns the order of initialization and nothing else.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "extfuse.h"

static int __init extfuse_init(void)
{
	int err;

	/* The type comes last: from then on programs can be attached. It goes away with the module, not before. */
	err = extfuse_dispatch_init();
	if (err)
		return err;
	err = extfuse_kfuncs_init();
	if (!err)
		err = extfuse_struct_ops_init();
	if (err) {
		pr_err("cannot register with BPF: %d\n", err);
		extfuse_dispatch_exit();
	}
	return err;
}

static void __exit extfuse_exit(void)
{
	/* Every attached program holds a reference on the module, so there is none. */
	extfuse_dispatch_exit();
}

module_init(extfuse_init);
module_exit(extfuse_exit);

MODULE_DESCRIPTION("Lets BPF programs answer FUSE requests");
MODULE_AUTHOR("The extencfs project");
MODULE_LICENSE("GPL");
MODULE_VERSION(EXTFUSE_VERSION);
MODULE_SOFTDEP("pre: fuse");
