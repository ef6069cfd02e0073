// SPDX-License-Identifier: Apache-2.0
// The text of a configuration. Parsing is all that happens before its MAC is checked, so it must
// bear anything; what carries the MAC must be the configuration that got it.
#include "encfs/volume/config_json.h"
#include "encfs/volume/features.h"
#include "tests/fuzz/target.h"

using namespace extencfs;
using namespace extencfs::volume;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::string original = canonical_config(fuzz::vector_config());
    static const auto key = fuzz::vector_volume_key();
    const auto config = parse_config(text_of(std::as_bytes(std::span(data, size))));
    if (!config) {
        const auto kind = config.error().kind;
        fuzz::promise(kind == ErrorKind::kDamaged || kind == ErrorKind::kUnsupported,
                      "a bad configuration is damaged or unsupported");
        return 0;
    }
    fuzz::promise(validate(*config).has_value(), "what is parsed is valid");
    fuzz::promise(total_cost_is_acceptable(config->slots), "and bounded in what it costs to try");
    const auto signed_again = parse_config(serialize_config(*config, key));
    fuzz::promise(signed_again.has_value(), "what is written can be read");
    const std::string canonical = canonical_config(*config);
    fuzz::promise(canonical_config(*signed_again) == canonical, "and says the same");
    if (signed_again->auth == config->auth) {
        fuzz::promise(canonical == original, "no MAC fits what nobody wrote");
    }
    // Generations of a configuration that was not checked: opened or refused.
    (void)VolumeKeys::derive(*config, key);
    return 0;
}
