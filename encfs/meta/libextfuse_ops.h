/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Wrappers for the operations of a libfuse3 low-level daemon that change something, for C. Each
 * gives a function xf_OP that closes what is touched, calls OP, and opens it again:
 *
 *   XF_WRAP(OP, mount, (inodes), (parameters), arguments)
 *   XF_WRAP_NAMES(OP, mount, (inodes), (parents), (names), (parameters), arguments)
 *
 * mount: an expression for the xf_mount. The lists are evaluated under xf_lock_names. OP may reply:
 * what it replied may be read from elsewhere before the records are open again, and is then asked
 * of the daemon. Reading data or a directory is a change, too, where it moves the access time
 * below.
 */
#ifndef LIBEXTFUSE_OPS_H
#define LIBEXTFUSE_OPS_H

#include "encfs/meta/libextfuse.h"

#define XF_BRACES(...) \
    { __VA_ARGS__ }

#define XF_WRAP(op, mount, inode_list, params, ...)               \
    static void xf_##op params {                                  \
        xf_mount* xf_m = (mount);                                 \
        struct xf_change xf_c = {.inodes = XF_BRACES inode_list}; \
        xf_begin(xf_m, &xf_c);                                    \
        op(__VA_ARGS__);                                          \
        xf_end(xf_m, &xf_c);                                      \
    }

#define XF_WRAP_NAMES(op, mount, inode_list, parent_list, name_list, params, ...) \
    static void xf_##op params {                                                  \
        xf_mount* xf_m = (mount);                                                 \
        xf_lock_names(xf_m);                                                      \
        struct xf_change xf_c = {.inodes = XF_BRACES inode_list,                  \
                                 .parents = XF_BRACES parent_list,                \
                                 .names = XF_BRACES name_list};                   \
        xf_begin(xf_m, &xf_c);                                                    \
        op(__VA_ARGS__);                                                          \
        xf_end(xf_m, &xf_c);                                                      \
        xf_unlock_names(xf_m);                                                    \
    }

#endif /* LIBEXTFUSE_OPS_H */
