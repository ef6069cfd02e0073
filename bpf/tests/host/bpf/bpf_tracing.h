/* SPDX-License-Identifier: GPL-2.0 */
#ifndef EXTFUSE_HOST_BPF_TRACING_H
#define EXTFUSE_HOST_BPF_TRACING_H

#define BPF_PROG(name, argument) name(argument)

#endif /* EXTFUSE_HOST_BPF_TRACING_H */
