// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/features.h"

#include <algorithm>
#include <array>

#include "encfs/volume/crypto_errors.h"

namespace extencfs::volume {
namespace {

constexpr std::array kFeatures{
    Feature{kFeatureBase32Names, "names in base32, for a lower file system that folds case"},
    Feature{kFeatureKeyRotation, "its keys are being rotated"},
};

bool has(const Config& config, std::string_view name) {
    return std::ranges::find(config.features, name) != config.features.end();
}

// One line for each illegal combination.
struct Rule {
    bool (*broken)(const Config&);
    const char* what;
};
constexpr std::array kRules{
    Rule{[](const Config& c) {
             return c.name_encoding == NameEncoding::kBase32Hex && !has(c, kFeatureBase32Names);
         },
         "name_encoding base32hex needs the feature base32-names"},
    Rule{[](const Config& c) {
             return c.name_encoding != NameEncoding::kBase32Hex && has(c, kFeatureBase32Names);
         },
         "feature base32-names needs name_encoding base32hex"},
    Rule{[](const Config& c) { return c.generations.size() < 2 && has(c, kFeatureKeyRotation); },
         "feature key-rotation needs two generations"},
};

}  // namespace

std::span<const Feature> known_features() {
    return kFeatures;
}

std::vector<std::string> features_for(NameEncoding encoding) {
    if (encoding == NameEncoding::kBase32Hex) return {std::string(kFeatureBase32Names)};
    return {};
}

Result<void> validate(std::span<const std::string> features) {
    for (const std::string& name : features) {
        if (std::ranges::find(kFeatures, name, &Feature::name) == kFeatures.end()) {
            return fail(ErrorKind::kUnsupported, "unknown feature \"" + name + "\"");
        }
    }
    if (std::ranges::adjacent_find(features, std::greater_equal<>{}) != features.end()) {
        return fail(ErrorKind::kDamaged, "features: not in ascending order");
    }
    return {};
}

Result<void> validate(const Config& config) {
    if (auto known = validate(std::span(config.features)); !known) return known;
    for (const Rule& rule : kRules) {
        if (rule.broken(config)) return fail(ErrorKind::kDamaged, rule.what);
    }
    return {};
}

}  // namespace extencfs::volume
