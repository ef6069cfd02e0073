// SPDX-License-Identifier: Apache-2.0
// Where requests wait for the volume's keys, in a mount that forgets them.
#pragma once

namespace extencfs::fuse {

// THREADS: any, in parallel.
class Gate {
  public:
    enum class Needs : bool { kNothing, kKeys };

    virtual ~Gate() = default;
    // Before a request is worked on: 0, and then leave() follows, on the same thread; or the errno
    // that it fails with. One that needs the keys waits until somebody gives them.
    virtual int enter(Needs needs) = 0;
    virtual void leave() = 0;
    // A file has one more user, or one fewer. Between enter() and leave().
    virtual void opened() = 0;
    virtual void released() = 0;
};

}  // namespace extencfs::fuse
