// SPDX-License-Identifier: Apache-2.0
// The sink that keeps the records of the BPF programs: core's contract (metadata_sink.h) over
// Records, and the bookkeeping of listings, by which a directory becomes known to be complete.
#pragma once

#include <array>
#include <atomic>
#include <mutex>

#include "encfs/core/metadata_sink.h"
#include "encfs/meta/records.h"

namespace extencfs::meta {

// security.* is refused on every volume (ADR 0005): RecordSettings::always_absent.
constexpr std::uint64_t kSecurityXattrs = XF_XATTR_CAPABILITY | XF_XATTR_SELINUX | XF_XATTR_IMA |
                                          XF_XATTR_EVM | XF_XATTR_SMACK | XF_XATTR_APPARMOR;

// THREADS, LOCKS: as Records; a mutex for each listing's state, held over nothing else.
class BpfSink final : public core::MetadataSink {
  public:
    // `records` outlives the sink: its memory may be read on after the file system is gone.
    // `kept`: worth_keeping(). Some of the records' capacity should stay free for what comes.
    BpfSink(Records& records, std::size_t kept) : records_(records), kept_(kept) {}

    bool listens() const override { return true; }
    Token token() const override { return records_.token(); }
    void publish_attr(NodeId node, const struct stat& attr, Token token,
                      const Change* within) override;
    void publish_entry(const Name& name, NodeId child, Token token, const Change* within) override;
    void publish_xattr(NodeId node, std::uint64_t ino, XattrFact fact, std::string_view name,
                       Token token) override;
    void begin_change(Change& change) override { records_.begin_change(change); }
    void end_change(const Change& change) override { records_.end_change(change); }
    void directory_is_empty(NodeId directory, std::uint64_t ino, Token token,
                            const Change* within) override;
    Listing listing_begins(NodeId directory, std::uint64_t cookie, Token token) override;
    void entry_listed(Listing listing, const Name& name, NodeId child, Token token) override;
    void listing_spoilt(Listing listing, NodeId directory) override;
    void listing_ends(Listing listing, NodeId directory, std::uint64_t ino, std::uint64_t cookie,
                      bool complete) override;
    void node_made(NodeId node, std::uint64_t ino) override { records_.adopt(node, ino); }
    void bar(NodeId node) override { records_.bar(node); }
    std::uint64_t take_served(NodeId node) override { return records_.take_served(node); }
    bool try_retire(NodeId node, std::uint64_t owed) override {
        return records_.try_retire(node, owed);
    }
    std::uint64_t served(NodeId node) const override { return records_.served(node); }
    std::size_t worth_keeping() const override { return kept_; }
    void end() override { records_.wipe(); }

  private:
    // A pass over one directory, from request to request. Of directories that share one, the last
    // to start has it.
    struct Pass {
        std::mutex mutex;
        NodeId directory = 0;      // 0: none
        Listing under_way = 0;     // the request that is at it; only that one may go on with it
        Listing last = 0;          // number of the last request
        std::uint64_t cookie = 0;  // where it goes on, between requests
        Token token = 0;           // of its first request
        std::uint64_t version = 0;
    };
    Pass& pass_of(NodeId directory) { return passes_[directory % passes_.size()]; }

    Records& records_;
    std::atomic<bool> acls_known_{false};  // the lower file system has them: absent is ENODATA
    const std::size_t kept_;
    std::array<Pass, 61> passes_;
};

}  // namespace extencfs::meta
