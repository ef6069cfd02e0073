# SPDX-License-Identifier: GPL-2.0
# The module's version, as modinfo and dkms show it.
EXTFUSE_VERSION := 0.1.0
