// SPDX-License-Identifier: Apache-2.0
#include "encfs/meta/bpf_sink.h"

namespace extencfs::meta {

namespace {

std::uint64_t bit_of(std::string_view name) {
    struct Known {
        std::string_view name;
        std::uint64_t bit;
    };
    static constexpr Known kKnown[] = {
        {"system.posix_acl_access", XF_XATTR_ACL_ACCESS},
        {"system.posix_acl_default", XF_XATTR_ACL_DEFAULT},
        {"security.capability", XF_XATTR_CAPABILITY},
        {"security.selinux", XF_XATTR_SELINUX},
        {"security.ima", XF_XATTR_IMA},
        {"security.evm", XF_XATTR_EVM},
        {"security.SMACK64", XF_XATTR_SMACK},
        {"security.apparmor", XF_XATTR_APPARMOR},
    };
    for (const Known& known : kKnown)
        if (known.name == name) return known.bit;
    return 0;
}

}  // namespace

void BpfSink::publish_attr(NodeId node, const struct stat& attr, Token token,
                           const Change* within) {
    records_.publish_attr(node, attr, token, within);
}

void BpfSink::publish_entry(const Name& name, NodeId child, Token token, const Change* within) {
    (void)records_.publish_entry(name, child, token, within);
}

void BpfSink::publish_xattr(NodeId node, std::uint64_t ino, XattrFact fact, std::string_view name,
                            Token token) {
    constexpr std::uint64_t kAcls = XF_XATTR_ACL_ACCESS | XF_XATTR_ACL_DEFAULT;
    std::uint64_t bits = fact == XattrFact::kNone ? XF_XATTR_NONE : bit_of(name);
    // Some file systems refuse ACLs altogether, which is another answer. All of a volume is on one.
    if ((bits & kAcls) != 0) acls_known_ = true;
    if (fact == XattrFact::kNone && acls_known_) bits |= kAcls;
    if (bits != 0) records_.publish_xattrs(node, ino, bits, token);
}

// Nobody but its maker knows it yet: it has no name that could be missing from the table.
void BpfSink::directory_is_empty(NodeId directory, std::uint64_t ino, Token token,
                                 const Change* within) {
    records_.publish_complete(directory, ino, records_.directory_version(directory), token, within);
}

BpfSink::Listing BpfSink::listing_begins(NodeId directory, std::uint64_t cookie, Token token) {
    Pass& pass = pass_of(directory);
    const std::lock_guard lock(pass.mutex);
    if (cookie == 0) {
        pass.directory = directory;
        pass.token = token;
        // After the token and before the first look, so that every eviction since then shows.
        pass.version = records_.directory_version(directory);
    } else if (pass.directory != directory || pass.under_way != 0 || pass.cookie != cookie) {
        return 0;
    }
    return pass.under_way = ++pass.last;
}

void BpfSink::entry_listed(Listing listing, const Name& name, NodeId child, Token token) {
    if (!records_.publish_entry(name, child, token, nullptr)) listing_spoilt(listing, name.parent);
}

void BpfSink::listing_spoilt(Listing listing, NodeId directory) {
    Pass& pass = pass_of(directory);
    const std::lock_guard lock(pass.mutex);
    if (listing == 0 || pass.under_way != listing) return;
    pass.directory = 0;
    pass.under_way = 0;
}

void BpfSink::listing_ends(Listing listing, NodeId directory, std::uint64_t ino,
                           std::uint64_t cookie, bool complete) {
    Pass& pass = pass_of(directory);
    const std::lock_guard lock(pass.mutex);
    if (listing == 0 || pass.under_way != listing) return;
    pass.under_way = 0;
    pass.cookie = cookie;
    if (!complete) return;
    records_.publish_complete(directory, ino, pass.version, pass.token, nullptr);
    pass.directory = 0;
}

}  // namespace extencfs::meta
