// SPDX-License-Identifier: Apache-2.0
// A migration journal of any bytes, of both forms: it is refused, or what is written behind its
// good records is read again, and nothing that followed them comes back.
#include <fcntl.h>

#include "encfs/migrate/journal.h"
#include "tests/fake/scratch_dir.h"
#include "tests/fuzz/target.h"

using namespace extencfs;
using namespace extencfs::migrate;

namespace {

struct stat attr_of(std::uint64_t ino) {
    struct stat attr {};
    attr.st_ino = ino;
    attr.st_size = 12345;
    attr.st_mtim = {1'600'000'000, 999'999'999};
    attr.st_mode = S_IFDIR | 0750;
    return attr;
}

// Facts that a reader draws from a journal, and that appending must not change by itself.
struct Facts {
    std::size_t done;
    bool removing;
    bool moving;
    bool operator==(const Facts&) const = default;
    static Facts of(const Journal& journal) {
        return {journal.done_count(), journal.is_removing(), journal.moving().has_value()};
    }
};

void check_form(lower::LowerFs& lower, int dir, Bytes bytes, Form form) {
    {
        auto file = lower.open(dir, kJournalName, O_CREAT | O_TRUNC | O_WRONLY, 0600);
        fuzz::promise(file && lower.pwrite(file->get(), bytes, 0), "a journal can be written");
    }
    auto first = Journal::open(lower, dir, form);
    if (!first || !*first) return;
    const bool known = (*first)->is_done(attr_of(77));
    const Facts before = Facts::of(**first);
    const Record record = done_record(attr_of(77));
    fuzz::promise((*first)->append(std::span(&record, 1)).has_value(), "one can append");
    const bool grew = !known && Facts::of(**first).done != before.done;
    auto second = Journal::open(lower, dir, form);
    fuzz::promise(second && *second, "what was opened opens again");
    fuzz::promise((*second)->is_done(attr_of(77)), "what was appended is read");
    const Facts after = Facts::of(**second);
    fuzz::promise(after == Facts::of(**first), "nothing comes back that was behind the end");
    fuzz::promise(after.done == before.done + (grew ? 1 : 0), "and nothing else is read");
    if (form != Form::kInPlace) return;
    const auto had = (*second)->directory(78);
    fuzz::promise((*second)->append(directory_records(attr_of(78))).has_value(), "one can append");
    auto third = Journal::open(lower, dir, form);
    fuzz::promise(third && *third && (*third)->directory(78), "a directory is read");
    // The first one counts.
    const auto saved = *(*third)->directory(78);
    fuzz::promise(had ? saved.mode == had->mode : saved.mode == attr_of(78).st_mode,
                  "as it was at first");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const fake::ScratchDir place = fake::ScratchDir::in_memory();
    static const auto lower = lower::make_posix_lower_fs();
    const Bytes bytes = std::as_bytes(std::span(data, size));
    for (const Form form : {Form::kNewPlace, Form::kInPlace})
        check_form(*lower, place.fd(), bytes, form);
    // With a header that checks: most inputs would not come further.
    const auto header = encode_header({.form = static_cast<std::uint32_t>(Form::kInPlace)});
    ByteVector made(header.begin(), header.end());
    fuzz::Input input(data, size);
    while (!input.empty()) {
        const std::uint8_t kind = input.byte();
        const Record record{.type = kind % 9U,
                            .mtime_nsec = static_cast<std::uint32_t>(input.number(4)),
                            .ino = input.number(1) % 4 + 76,
                            .size = input.number(3),
                            .mtime_sec = static_cast<std::int64_t>(input.number(4))};
        auto encoded = encode_record(record, 0);
        if (kind >= 250) encoded[kind - 230U] ^= std::byte{1};  // torn
        made.insert(made.end(), encoded.begin(), encoded.end());
    }
    check_form(*lower, place.fd(), made, Form::kInPlace);
    return 0;
}
