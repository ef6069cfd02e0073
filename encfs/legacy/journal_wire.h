// SPDX-License-Identifier: Apache-2.0
// How journals are written (FORMAT.md "Renames"). Internal to encfs/legacy.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/bytes.h"
#include "crypto/legacy_encfs.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/wire.h"

namespace extencfs::legacy {

constexpr std::size_t kJournalMacSize = 8;
constexpr std::size_t kMostName = 255;

class JournalWriter {
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
    ByteVector take() { return std::move(out_); }

  private:
    ByteVector out_;
};

// After the first thing that does not fit, everything is empty, and good() says so.
class JournalReader {
  public:
    explicit JournalReader(Bytes in) : in_(in) {}
    bool good() const { return good_; }
    bool at_end() const { return good_ && in_.empty(); }
    template <typename Number>
    Number number() {
        const Bytes some = take(sizeof(Number));
        return some.empty() ? Number{0} : volume::get_le<Number>(some, 0);
    }
    Bytes bytes() { return bytes(kMostName); }
    Bytes bytes(std::size_t most) {
        const auto size = number<std::uint32_t>();
        if (size > most) good_ = false;
        return take(good_ ? size : 0);
    }
    std::string text() { return std::string(text_of(bytes())); }
    std::vector<std::string> texts() {
        std::vector<std::string> values;
        for (auto left = number<std::uint32_t>(); left > 0 && good_; --left)
            values.push_back(text());
        return values;
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

// `bytes` with the MAC of all of it behind. ERRORS: kInternal.
inline volume::Result<ByteVector> close_journal(ByteVector bytes, const crypto::LegacyKey& key) {
    const auto mac = key.mac64(bytes);
    if (!mac) return volume::from_crypto(mac.error(), "journal");
    bytes.resize(bytes.size() + kJournalMacSize);
    volume::put_le(bytes, bytes.size() - kJournalMacSize, *mac);
    return bytes;
}

// What lies between the magic and the MAC. ERRORS: kDamaged, kInternal.
inline volume::Result<Bytes> open_journal(Bytes bytes, std::string_view magic,
                                          const crypto::LegacyKey& key) {
    const auto damaged = [] {
        return volume::fail(volume::ErrorKind::kDamaged, "the journal is not whole");
    };
    if (bytes.size() < magic.size() + kJournalMacSize ||
        text_of(bytes.first(magic.size())) != magic)
        return damaged();
    const Bytes body = bytes.first(bytes.size() - kJournalMacSize);
    const auto mac = key.mac64(body);
    if (!mac) return volume::from_crypto(mac.error(), "journal");
    if (*mac != volume::get_le<std::uint64_t>(bytes, body.size())) return damaged();
    return body.subspan(magic.size());
}

}  // namespace extencfs::legacy
