// SPDX-License-Identifier: Apache-2.0
// extencfs.state with any text: only "clean" is clean, and a writer can always take it over.
#include <fcntl.h>

#include "encfs/daemon/volume_state.h"
#include "tests/fake/scratch_dir.h"
#include "tests/fuzz/target.h"

using namespace extencfs;
using namespace extencfs::daemon;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const fake::ScratchDir place = fake::ScratchDir::in_memory();
    static const auto lower = lower::make_posix_lower_fs();
    const Bytes text = std::as_bytes(std::span(data, size));
    {
        auto file = lower->open(place.fd(), volume::kStateName, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        fuzz::promise(file && lower->pwrite(file->get(), text, 0), "a state file can be made");
    }
    const bool clean = text_of(text) == "clean\n";
    const auto view = view_state(*lower, place.fd());
    fuzz::promise(view && view->exists && view->clean == clean && !view->writer_present,
                  "only `clean` is clean");
    {
        auto held = WriterLock::acquire(*lower, place.fd());
        fuzz::promise(held && held->was_clean() == clean, "a writer sees the same");
        fuzz::promise(!WriterLock::acquire(*lower, place.fd()), "there is one writer");
        fuzz::promise(held->begin_writing().has_value(), "a writer can begin");
        const auto during = view_state(*lower, place.fd());
        fuzz::promise(during && !during->clean && during->writer_present, "it is seen to write");
        fuzz::promise(held->end_clean().has_value(), "a writer can end");
    }
    const auto after = view_state(*lower, place.fd());
    fuzz::promise(after && after->clean, "it is clean then");
    return 0;
}
