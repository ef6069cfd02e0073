/* SPDX-License-Identifier: GPL-2.0 */
#ifndef EXTFUSE_HOST_BPF_CORE_READ_H
#define EXTFUSE_HOST_BPF_CORE_READ_H

#define BPF_CORE_READ(pointer, ...) XF_CORE_READ(pointer, __VA_ARGS__, , )
#define XF_CORE_READ(pointer, one, other, ...) XF_CORE_READ_##other(pointer, one, other)
#define XF_CORE_READ_(pointer, one, other) ((pointer)->one)
#define XF_CORE_READ_group_info(pointer, one, other) ((pointer)->one->group_info)

#endif /* EXTFUSE_HOST_BPF_CORE_READ_H */
