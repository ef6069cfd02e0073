// SPDX-License-Identifier: Apache-2.0
// Records of two nodes, the root and a file, and a reader; for the tests of the protocol's rules.
#pragma once

#include <catch2/catch.hpp>

#include <set>
#include <string>

#include "encfs/meta/records.h"
#include "tests/unit/meta/bpf_reader.h"

namespace extencfs::meta {

constexpr std::uint64_t kRootIno = 100;
constexpr NodeId kNode = 2;
constexpr std::uint64_t kIno = 7;
constexpr std::uint64_t kAclBits = XF_XATTR_ACL_ACCESS | XF_XATTR_ACL_DEFAULT;

struct Fixture {
    explicit Fixture(std::size_t buckets = 64, std::size_t nodes = 64)
        : mapped(nodes, buckets), records(mapped.nodes, mapped.buckets, mapped.settings) {
        records.adopt(core::kRootNode, kRootIno);
        records.adopt(kNode, kIno);
    }
    Mapped mapped;
    Records records;
    BpfReader reader{mapped};

    static struct stat attr(std::uint64_t size, std::uint64_t ino = kIno, nlink_t links = 1) {
        struct stat is {};
        is.st_ino = ino;
        is.st_size = static_cast<off_t>(size);
        is.st_mode = S_IFREG | 0644;
        is.st_nlink = links;
        is.st_mtim = {static_cast<time_t>(size), 5};
        return is;
    }
    void publish(std::uint64_t size) {
        records.publish_attr(kNode, attr(size), records.token(), {});
    }
    // The size that a reader is told; -1: it is left to the daemon.
    std::int64_t size(NodeId node = kNode) {
        xf_attr got{};
        return reader.getattr(node, got) ? static_cast<std::int64_t>(got.size) : -1;
    }
    bool entry(std::string_view name, NodeId child) {
        return records.publish_entry({core::kRootNode, name}, child, records.token(), nullptr);
    }
    Verdict verdict(std::string_view name) { return reader.lookup(core::kRootNode, name).verdict; }
    void complete_root() {
        const auto token = records.token();
        records.publish_complete(core::kRootNode, kRootIno,
                                 records.directory_version(core::kRootNode), token, nullptr);
    }
};

using Change = Records::Change;

inline Change change_of_inode(std::uint64_t ino = kIno) {
    return {.inodes = {ino}};
}
inline Change change_of_name(std::string_view name) {
    return {.inodes = {kRootIno}, .names = {{{core::kRootNode, name}}}};
}

}  // namespace extencfs::meta
