// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: on each file given, or found in a folder given, and on
// --mutations of each. The same mutations in every run.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "tests/fuzz/target.h"

namespace {

using Text = std::vector<std::uint8_t>;

Text mutated(Text text, std::minstd_rand& random) {
    const auto below = [&](std::size_t n) { return n == 0 ? 0 : random() % n; };
    for (std::size_t n = 1 + below(4); n > 0; --n) {
        const std::size_t at = below(text.size());
        const auto place = text.begin() + static_cast<std::ptrdiff_t>(at);
        const auto end = place + static_cast<std::ptrdiff_t>(
                                     below(std::min<std::size_t>(text.size() - at, 16) + 1));
        switch (below(5)) {
            case 0:
                if (!text.empty()) *place ^= static_cast<std::uint8_t>(1u << below(8));
                break;
            case 1:
                for (auto it = place; it != end; ++it) *it = static_cast<std::uint8_t>(random());
                break;
            case 2:
                text.erase(place, end);
                break;
            case 3:
                text.insert(place, 1 + below(16), static_cast<std::uint8_t>(random()));
                break;
            default:
                std::fill(place, end, std::uint8_t{0});
        }
    }
    return text;
}

Text contents(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return Text(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

int main(int argc, char** argv) {
    namespace fs = std::filesystem;
    std::vector<fs::path> files;
    unsigned long mutations = 0;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--mutations" && i + 1 < argc) {
            mutations = std::strtoul(argv[++i], nullptr, 10);
        } else if (fs::is_directory(word)) {
            for (const auto& entry : fs::directory_iterator(word)) files.push_back(entry.path());
        } else {
            files.emplace_back(word);
        }
    }
    std::sort(files.begin(), files.end());
    unsigned long runs = 0;
    for (const auto& path : files) {
        std::printf("%s\n", path.c_str());
        std::fflush(stdout);
        const Text text = contents(path);
        std::minstd_rand random(1);
        for (unsigned long i = 0; i <= mutations; ++i, ++runs) {
            const Text now = i == 0 ? text : mutated(text, random);
            // A copy of exactly that size, so that AddressSanitizer sees its end.
            LLVMFuzzerTestOneInput(now.data(), now.size());
        }
    }
    std::printf("%zu inputs, %lu runs\n", files.size(), runs);
    return files.empty() ? 1 : 0;
}
