// SPDX-License-Identifier: Apache-2.0
// Strict reading of a JSON object: every member is accounted for, and the first thing that is wrong
// is what is told. Knows nothing of what the members mean. Inside encfs/volume only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "crypto/encoding.h"
#include "encfs/volume/config_json.h"
#include "encfs/volume/wire.h"

namespace extencfs::volume {

// The first thing that was wrong; later ones are its consequences.
class Problem {
  public:
    void damaged(const std::string& where, const char* what) {
        set(ErrorKind::kDamaged, where, what);
    }
    void unsupported(const std::string& where, const char* what) {
        set(ErrorKind::kUnsupported, where, what);
    }
    bool seen() const { return first_.has_value(); }
    std::unexpected<Error> take() { return std::unexpected(std::move(*first_)); }

  private:
    void set(ErrorKind kind, const std::string& where, const char* what) {
        if (!first_) first_ = Error{kind, "configuration: " + where + ": " + what};
    }
    std::optional<Error> first_;
};

inline const nlohmann::json kNothing;

// One JSON object whose members are all accounted for. After a problem, values are defaults.
class ObjectReader {
  public:
    ObjectReader(const nlohmann::json& object, std::string where, Problem& problem)
        : object_(object), where_(std::move(where)), problem_(problem) {
        if (!object.is_object()) problem_.damaged(where_, "not an object");
    }

    const nlohmann::json& member(const char* name) {
        known_.insert(name);
        if (!object_.is_object()) return kNothing;
        const auto found = object_.find(name);
        if (found != object_.end()) return *found;
        problem_.damaged(path(name), "missing");
        return kNothing;
    }

    std::uint64_t number(const char* name, std::uint64_t least, std::uint64_t most) {
        const nlohmann::json& value = member(name);
        if (!value.is_number_unsigned()) {
            problem_.damaged(path(name), "not a whole number");
            return least;
        }
        const auto found = value.get<std::uint64_t>();
        if (found >= least && found <= most) return found;
        problem_.damaged(path(name), "out of range");
        return least;
    }
    std::uint32_t number32(const char* name, std::uint32_t least) {
        return static_cast<std::uint32_t>(number(name, least, UINT32_MAX));
    }

    std::string text(const char* name) {
        const nlohmann::json& value = member(name);
        if (value.is_string()) return value.get<std::string>();
        problem_.damaged(path(name), "not a text");
        return {};
    }
    std::string label(const char* name) {
        std::string value = text(name);
        if (!is_label(value)) problem_.damaged(path(name), "not short printable text");
        return value;
    }

    template <typename Words>
    auto word(const char* name, const Words& words) {
        const std::string value = text(name);
        for (const auto& known : words) {
            if (known.text == value) return known.value;
        }
        problem_.unsupported(path(name), "unknown value");
        return words[0].value;
    }

    ByteVector bytes(const char* name, std::size_t size) {
        auto value = crypto::base64url_decode(text(name));
        if (value && value->size() == size) return std::move(*value);
        problem_.damaged(path(name), "not base64url of the right length");
        return ByteVector(size);
    }
    // 1 to `most` of them.
    ByteVector some_bytes(const char* name, std::size_t most) {
        auto value = crypto::base64url_decode(text(name));
        if (value && !value->empty() && value->size() <= most) return std::move(*value);
        problem_.damaged(path(name), "not base64url of a fit length");
        return {};
    }
    bool truth(const char* name) {
        const nlohmann::json& value = member(name);
        if (value.is_boolean()) return value.get<bool>();
        problem_.damaged(path(name), "not true or false");
        return false;
    }
    template <std::size_t N>
    ByteArray<N> byte_array(const char* name) {
        return get_bytes<N>(bytes(name, N), 0);
    }
    ByteArray<16> hex16(const char* name) {
        const auto value = crypto::hex_decode(text(name));
        if (value && value->size() == 16) return get_bytes<16>(*value, 0);
        problem_.damaged(path(name), "not 16 bytes in hexadecimal");
        return {};
    }

    // The elements of an array of `least` to `most`; none after a problem.
    const nlohmann::json& array(const char* name, std::size_t least, std::size_t most) {
        static const nlohmann::json kEmpty = nlohmann::json::array();
        const nlohmann::json& value = member(name);
        if (value.is_array() && value.size() >= least && value.size() <= most) return value;
        problem_.damaged(path(name), "not a list of the right length");
        return kEmpty;
    }

    void no_other_members() {
        if (!object_.is_object()) return;
        for (const auto& [name, value] : object_.items()) {
            if (!known_.contains(name)) problem_.unsupported(where_, "unknown member");
        }
    }

    std::string path(const char* name) const { return where_.empty() ? name : where_ + "." + name; }

  private:
    const nlohmann::json& object_;
    std::string where_;
    Problem& problem_;
    std::set<std::string, std::less<>> known_;
};

}  // namespace extencfs::volume
