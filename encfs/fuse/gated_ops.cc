// SPDX-License-Identifier: Apache-2.0
// The operations of a mount with a gate: each passes it, and then is what it is elsewhere.
#include <type_traits>

#include "encfs/fuse/reply.h"
#include "encfs/fuse/state.h"

namespace extencfs::fuse {
namespace {

using Needs = Gate::Needs;
using Operations = struct fuse_lowlevel_ops;

template <auto Member, Needs Wants, typename Operation>
struct Gated;

template <auto Member, Needs Wants, typename... Arguments>
struct Gated<Member, Wants, void (*)(fuse_req_t, Arguments...)> {
    static void call(fuse_req_t req, Arguments... arguments) {
        Gate& gate = *static_cast<Session::State*>(fuse_req_userdata(req))->options.gate;
        if (const int error = gate.enter(Wants); error != 0) return reply_errno(req, error);
        (kOperations.*Member)(req, arguments...);
        gate.leave();
    }
};

template <Needs Wants, auto... Members>
void pass(Operations& operations) {
    ((operations.*Members =
          &Gated<Members, Wants, std::decay_t<decltype(operations.*Members)>>::call),
     ...);
}

Operations make_gated() {
    Operations all = kOperations;
    pass<Needs::kKeys, &Operations::lookup, &Operations::getattr, &Operations::setattr,
         &Operations::readlink, &Operations::mknod, &Operations::mkdir, &Operations::unlink,
         &Operations::rmdir, &Operations::symlink, &Operations::rename, &Operations::link,
         &Operations::open, &Operations::create, &Operations::read, &Operations::write,
         &Operations::fsync, &Operations::fallocate, &Operations::lseek,
         &Operations::copy_file_range, &Operations::opendir, &Operations::readdir,
         &Operations::readdirplus, &Operations::fsyncdir, &Operations::setxattr,
         &Operations::getxattr, &Operations::listxattr, &Operations::removexattr>(all);
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    pass<Needs::kKeys, &Operations::tmpfile>(all);
#endif
    // What a file that is open needs is there as long as it is.
    pass<Needs::kNothing, &Operations::forget, &Operations::forget_multi, &Operations::flush,
         &Operations::release, &Operations::statfs>(all);
    return all;
}

}  // namespace

const struct fuse_lowlevel_ops& gated_operations() {
    static const Operations made = make_gated();
    return made;
}

}  // namespace extencfs::fuse
