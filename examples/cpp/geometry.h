// What classify.cpp does to an image before it is resized, apart from the libraries: the rounding of a size, transparent
// pixels on a background, the kind of a JPEG file.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

// The length of a side after the short side `smaller` became `resize`; halves are rounded up.
inline int resized(int side, int resize, int smaller) {
    return int((2 * int64_t(side) * resize + smaller) / (2 * int64_t(smaller)));
}

// RGB of `count` pixels of RGBA on a colour, rounded to the nearest level.
inline std::vector<uint8_t> on_background(const uint8_t* rgba, size_t count, const std::array<int, 3>& background) {
    std::vector<uint8_t> rgb(3 * count);
    for (size_t i = 0; i < count; ++i)
        for (size_t c = 0; c < 3; ++c) {
            const int alpha = rgba[4 * i + 3];
            rgb[3 * i + c] = uint8_t((rgba[4 * i + c] * alpha + background[c] * (255 - alpha) + 127) / 255);
        }
    return rgb;
}

// The number of colour components that the frame header of a JPEG file names; 0 of other files.
inline int jpeg_components(const std::vector<uint8_t>& data) {
    if (data.size() < 4 || data[0] != 0xFF || data[1] != 0xD8) return 0;
    size_t at = 2;
    while (at + 9 < data.size()) {
        if (data[at] != 0xFF || data[at + 1] == 0xFF) {  // junk and fill bytes
            ++at;
            continue;
        }
        const uint8_t marker = data[at + 1];
        if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) return data[at + 9];
        if (marker == 0xDA) return 0;
        at += 2 + (marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD9) ? 0 : data[at + 2] * 256 + data[at + 3]);
    }
    return 0;
}
