// SPDX-License-Identifier: Apache-2.0
// A file system with the records behind it, and somebody who reads them as BPF does.
#pragma once

#include <catch2/catch.hpp>

#include <memory>
#include <string_view>

#include "encfs/meta/bpf_sink.h"
#include "tests/unit/core/volume_for_tests.h"
#include "tests/unit/meta/bpf_reader.h"

namespace extencfs::meta {

using core::kRootNode;

struct World {
    explicit World(lower::LowerFs& lower_fs, std::size_t buckets = 256, std::size_t nodes = 1024,
                   std::size_t kept = 0)
        : mapped(nodes, buckets),
          records(mapped.nodes, mapped.buckets, mapped.settings),
          fs(core::open_fs(lower_fs, dir,
                           {.clean = true, .sink = std::make_shared<BpfSink>(records, kept)})) {}

    Verdict verdict(std::string_view name, NodeId parent = kRootNode) {
        const Looked got = reader.lookup(parent, name);
        if (got.verdict == Verdict::kFound) fs->forget(got.node, 1);
        return got.verdict;
    }
    bool knows(NodeId node) {
        xf_attr attr{};
        return reader.getattr(node, attr);
    }
    xf_attr attr(NodeId node) {
        xf_attr out{};
        REQUIRE(reader.getattr(node, out));
        return out;
    }

    fake::ScratchDir dir = fake::ScratchDir::in_memory();
    Mapped mapped;
    Records records;
    BpfReader reader{mapped};
    std::unique_ptr<core::Filesystem> fs;
};

inline bool same(const xf_attr& told, const struct stat& is) {
    return told.ino == is.st_ino && told.size == static_cast<std::uint64_t>(is.st_size) &&
           told.blocks == static_cast<std::uint64_t>(is.st_blocks) && told.mode == is.st_mode &&
           told.nlink == is.st_nlink && told.uid == is.st_uid && told.gid == is.st_gid &&
           told.mtime == static_cast<std::uint64_t>(is.st_mtim.tv_sec) &&
           told.mtimensec == is.st_mtim.tv_nsec &&
           told.ctime == static_cast<std::uint64_t>(is.st_ctim.tv_sec) &&
           told.ctimensec == is.st_ctim.tv_nsec;
}

}  // namespace extencfs::meta
