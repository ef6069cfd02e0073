// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/move_plan.h"

#include <algorithm>
#include <string_view>

#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/wire.h"

namespace extencfs::legacy {

namespace {

using volume::ErrorKind;
using volume::fail;
using volume::from_crypto;

constexpr std::string_view kMagic = "extencfs move 1\n";
constexpr std::size_t kMacSize = 8;
constexpr std::size_t kMostText = 255;

class Writer {
  public:
    template <typename Number>
    void number(Number value) {
        const std::size_t at = out_.size();
        out_.resize(at + sizeof(Number));
        volume::put_le(out_, at, value);
    }
    void bytes(Bytes value) {
        number(static_cast<std::uint32_t>(value.size()));
        out_.insert(out_.end(), value.begin(), value.end());
    }
    void raw(Bytes value) { out_.insert(out_.end(), value.begin(), value.end()); }
    void text(std::string_view value) { bytes(bytes_of(value)); }
    void texts(const std::vector<std::string>& values) {
        number(static_cast<std::uint32_t>(values.size()));
        for (const std::string& value : values) text(value);
    }
    void time(const MoveTimes& time) {
        number(static_cast<std::uint64_t>(time.seconds));
        number(static_cast<std::uint64_t>(time.nanoseconds));
    }
    ByteVector take() { return std::move(out_); }

  private:
    ByteVector out_;
};

// After the first thing that does not fit, everything is empty, and good() says so.
class Reader {
  public:
    explicit Reader(Bytes in) : in_(in) {}
    bool good() const { return good_; }
    bool at_end() const { return good_ && in_.empty(); }
    template <typename Number>
    Number number() {
        const Bytes some = take(sizeof(Number));
        return some.empty() ? Number{0} : volume::get_le<Number>(some, 0);
    }
    Bytes bytes() {
        const auto size = number<std::uint32_t>();
        if (size > kMostText) good_ = false;
        return take(good_ ? size : 0);
    }
    std::string text() { return std::string(text_of(bytes())); }
    std::vector<std::string> texts() {
        std::vector<std::string> values;
        for (auto left = number<std::uint32_t>(); left > 0 && good_; --left)
            values.push_back(text());
        return values;
    }
    MoveTimes time() {
        MoveTimes time;
        time.seconds = static_cast<std::int64_t>(number<std::uint64_t>());
        time.nanoseconds = static_cast<std::int64_t>(number<std::uint64_t>());
        return time;
    }
    ByteVector vector() {
        const Bytes some = bytes();
        return {some.begin(), some.end()};
    }

  private:
    Bytes take(std::size_t size) {
        if (!good_ || size > in_.size()) {
            good_ = false;
            return {};
        }
        const Bytes some = in_.first(size);
        in_ = in_.subspan(size);
        return some;
    }
    Bytes in_;
    bool good_ = true;
};

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
    Writer out;
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
        out.time(dir.atime);
        out.time(dir.mtime);
    }
    out.number(static_cast<std::uint32_t>(plan.steps.size()));
    for (const MoveStep& step : plan.steps) {
        out.number(step.dir);
        out.text(step.entry);
        out.text(step.new_entry);
        out.bytes(step.header);
        out.bytes(step.new_header);
    }
    ByteVector bytes = out.take();
    const auto mac = key.mac64(bytes);
    if (!mac) return from_crypto(mac.error(), "journal of a rename");
    bytes.resize(bytes.size() + kMacSize);
    volume::put_le(bytes, bytes.size() - kMacSize, *mac);
    return bytes;
}

Result<MovePlan> decode_move(Bytes bytes, const crypto::LegacyKey& key) {
    const auto damaged = [] { return fail(ErrorKind::kDamaged, "journal of a rename"); };
    if (bytes.size() < kMagic.size() + kMacSize || bytes.size() > kMostMoveBytes ||
        text_of(bytes.first(kMagic.size())) != kMagic)
        return damaged();
    const Bytes body = bytes.first(bytes.size() - kMacSize);
    const auto mac = key.mac64(body);
    if (!mac) return from_crypto(mac.error(), "journal of a rename");
    if (*mac != volume::get_le<std::uint64_t>(bytes, body.size())) return damaged();
    Reader in(body.subspan(kMagic.size()));
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
        dir.atime = in.time();
        dir.mtime = in.time();
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
    if (!in.at_end() || !fits(plan)) return damaged();
    return plan;
}

}  // namespace extencfs::legacy
