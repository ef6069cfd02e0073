// SPDX-License-Identifier: Apache-2.0
// A conversation over a control socket that is longer than a question: lines of text one way, and
// frames that may be secrets the other. Knows nothing of what is said.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/secret.h"
#include "encfs/lower/fd.h"

namespace extencfs::daemon {

// THREADS: one that speaks and one that listens.
class Talk {
  public:
    // A connected stream socket.
    explicit Talk(lower::Fd socket);

    // False: the other side is gone, or takes nothing any more.
    bool say(std::string_view line);
    // Without its newline; waits. nullopt: the other side is gone, or its line is too long.
    std::optional<std::string> hear();
    // A frame: its size, u32, and its bytes.
    bool give(Bytes frame);
    // Into locked memory; waits. nullopt: the other side is gone, or the frame is above `most`.
    std::optional<crypto::SecretBytes> take(std::size_t most);
    // Ends hear() and take(), from any thread; what is said still goes out.
    void stop_listening();

  private:
    lower::Fd socket_;
    std::string heard_;
};

}  // namespace extencfs::daemon
