// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/move_plan.h"

#include <algorithm>
#include <string_view>

#include "encfs/legacy/journal_wire.h"

namespace extencfs::legacy {

namespace {

constexpr std::string_view kMagic = "extencfs move 1\n";

void put_time(JournalWriter& out, const MoveTimes& time) {
    out.number(static_cast<std::uint64_t>(time.seconds));
    out.number(static_cast<std::uint64_t>(time.nanoseconds));
}

MoveTimes get_time(JournalReader& in) {
    MoveTimes time;
    time.seconds = static_cast<std::int64_t>(in.number<std::uint64_t>());
    time.nanoseconds = static_cast<std::int64_t>(in.number<std::uint64_t>());
    return time;
}

bool fits(const MovePlan& plan) {
    // Dir 0 has no parent, dir 1 (the renamed directory) lies where the plan says.
    for (std::size_t i = 2; i < plan.dirs.size(); ++i)
        if (plan.dirs[i].parent == 0 || plan.dirs[i].parent >= i) return false;
    return !plan.dirs.empty() && std::ranges::all_of(plan.steps, [&](const MoveStep& step) {
        const bool sizes = step.header.size() == step.new_header.size() &&
                           (step.header.empty() || step.header.size() == kFileHeaderSize);
        return sizes && step.dir < plan.dirs.size();
    });
}

}  // namespace

Result<ByteVector> encode_move(const MovePlan& plan, const crypto::LegacyKey& key) {
    JournalWriter out;
    out.raw(bytes_of(kMagic));
    out.texts(plan.path);
    out.texts(plan.new_path);
    out.text(plan.entry);
    out.text(plan.new_entry);
    out.number(static_cast<std::uint32_t>(plan.dirs.size()));
    for (const MoveDir& dir : plan.dirs) {
        out.number(dir.parent);
        out.text(dir.entry);
        out.text(dir.new_entry);
        put_time(out, dir.atime);
        put_time(out, dir.mtime);
    }
    out.number(static_cast<std::uint32_t>(plan.steps.size()));
    for (const MoveStep& step : plan.steps) {
        out.number(step.dir);
        out.text(step.entry);
        out.text(step.new_entry);
        out.bytes(step.header);
        out.bytes(step.new_header);
    }
    return close_journal(out.take(), key);
}

Result<MovePlan> decode_move(Bytes bytes, const crypto::LegacyKey& key) {
    const auto body = open_journal(bytes, kMagic, key);
    if (!body) return std::unexpected(body.error());
    JournalReader in(*body);
    MovePlan plan;
    plan.path = in.texts();
    plan.new_path = in.texts();
    plan.entry = in.text();
    plan.new_entry = in.text();
    for (auto left = in.number<std::uint32_t>(); left > 0 && in.good(); --left) {
        MoveDir dir;
        dir.parent = in.number<std::uint32_t>();
        dir.entry = in.text();
        dir.new_entry = in.text();
        dir.atime = get_time(in);
        dir.mtime = get_time(in);
        plan.dirs.push_back(std::move(dir));
    }
    for (auto left = in.number<std::uint32_t>(); left > 0 && in.good(); --left) {
        MoveStep step;
        step.dir = in.number<std::uint32_t>();
        step.entry = in.text();
        step.new_entry = in.text();
        step.header = in.vector();
        step.new_header = in.vector();
        plan.steps.push_back(std::move(step));
    }
    if (!in.at_end() || !fits(plan))
        return volume::fail(volume::ErrorKind::kDamaged, "the journal of a rename is none");
    return plan;
}

}  // namespace extencfs::legacy
