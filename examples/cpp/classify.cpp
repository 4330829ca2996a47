// The five likeliest classes of an image: classify EXPORT IMAGE, EXPORT written by `ssld export` with --with-preprocess.

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#define ORT_API_MANUAL_INIT  // to ask the library first whether it is as new as these headers
#include <onnxruntime_cxx_api.h>
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

#include "geometry.h"

[[noreturn]] void fail(const std::string& message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::exit(1);
}

struct Image {
    int width, height;
    std::vector<uint8_t> rgb;
};

// What follows `"key": ` in the part `input` of a contract, which stands before its other parts that have sizes.
std::string value(const std::string& contract, const std::string& key) {
    const size_t input = contract.find("\"input\": {");
    const size_t at = input == std::string::npos ? input : contract.find("\"" + key + "\": ", input);
    if (at == std::string::npos) return "";
    const size_t begin = at + key.size() + 4;
    return contract.substr(begin, contract.find_first_of(",\n}", begin) - begin);
}

// The three numbers of `background`; white where a contract names none.
std::array<int, 3> background_of(const std::string& contract) {
    std::array<int, 3> colour{255, 255, 255};
    const size_t input = contract.find("\"input\": {"), key = contract.find("\"background\"", input);
    if (input == std::string::npos || key == std::string::npos) return colour;
    const char* at = contract.c_str() + contract.find('[', key);
    for (int& level : colour) {
        while (*at && !std::isdigit(static_cast<unsigned char>(*at))) ++at;
        level = int(std::strtol(at, const_cast<char**>(&at), 10));
    }
    return colour;
}

double linear(double x) { return std::max(0.0, 1 - std::abs(x)); }

double cubic(double x) {
    x = std::abs(x);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

// The image with its rows brought to `width`, and transposed: twice this is a resize. With antialiasing, as in Pillow.
Image stretched(const Image& image, int width, bool smooth) {
    Image out{image.height, width, std::vector<uint8_t>(size_t(3) * image.height * width)};
    const double scale = double(image.width) / width, wide = std::max(scale, 1.0), reach = (smooth ? 2 : 1) * wide;
    for (int x = 0; x < width; ++x) {
        const double centre = (x + 0.5) * scale;
        const int begin = std::max(0, int(centre - reach + 0.5)), end = std::min(image.width, int(centre + reach + 0.5));
        std::vector<double> weights;
        for (int i = begin; i < end; ++i) {
            const double place = (i + 0.5 - centre) / wide;
            weights.push_back(smooth ? cubic(place) : linear(place));
        }
        const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (int y = 0; y < image.height; ++y)
            for (int c = 0; c < 3; ++c) {
                double sum = 0;
                for (int i = begin; i < end; ++i)
                    sum += weights[i - begin] * image.rgb[(size_t(y) * image.width + i) * 3 + c];
                out.rgb[(size_t(x) * image.height + y) * 3 + c] = uint8_t(std::clamp(sum / total + 0.5, 0.0, 255.0));
            }
    }
    return out;
}

// The pixels of a file on the background colour.
Image read(const std::string& file, const std::array<int, 3>& background) {
    std::ifstream stream(file, std::ios::binary);
    const std::vector<uint8_t> data((std::istreambuf_iterator<char>(stream)), {});
    if (jpeg_components(data) == 4) fail(file + ": is a JPEG file in CMYK; save it in RGB");
    Image image{};
    int channels;
    uint8_t* pixels = stbi_load_from_memory(data.data(), int(data.size()), &image.width, &image.height, &channels, 4);
    if (!pixels) fail(file + ": is no image that stb_image reads; give a JPEG, PNG, BMP or PPM file");
    image.rgb = on_background(pixels, size_t(image.width) * image.height, background);
    stbi_image_free(pixels);
    return image;
}

// The short side to `resize`, then the square in the middle.
std::vector<uint8_t> prepared(const Image& image, int size, int resize, bool smooth) {
    const int smaller = std::min(image.width, image.height);
    const int width = std::max(size, resized(image.width, resize, smaller));
    const int height = std::max(size, resized(image.height, resize, smaller));
    const Image whole = stretched(stretched(image, width, smooth), height, smooth);
    std::vector<uint8_t> cut;
    for (int y = (height - size) / 2; y < (height - size) / 2 + size; ++y) {
        const auto row = whole.rgb.begin() + (size_t(y) * width + (width - size) / 2) * 3;
        cut.insert(cut.end(), row, row + 3 * size);
    }
    return cut;
}

std::vector<float> probabilities(const std::string& model, std::vector<uint8_t>& pixels, int64_t size) try {
    Ort::Env env(ORT_LOGGING_LEVEL_FATAL, "classify");
    Ort::Session session(env, model.c_str(), Ort::SessionOptions{});
    Ort::AllocatorWithDefaultOptions allocator;
    const auto input = session.GetInputNameAllocated(0, allocator), output = session.GetOutputNameAllocated(0, allocator);
    const char *inputs[] = {input.get()}, *outputs[] = {output.get()};
    const int64_t shape[] = {1, size, size, 3};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeCPU);
    auto tensor = Ort::Value::CreateTensor<uint8_t>(memory, pixels.data(), pixels.size(), shape, 4);
    auto found = session.Run(Ort::RunOptions{}, inputs, &tensor, 1, outputs, 1);
    const float* begin = found[0].GetTensorData<float>();
    return {begin, begin + found[0].GetTensorTypeAndShapeInfo().GetElementCount()};
} catch (const Ort::Exception&) {
    fail(model + ": is no model that ONNX Runtime reads and runs on pixels; export it again, with --with-preprocess");
}

int main(int argc, char** argv) {
    if (argc != 3) fail("classify: takes two arguments; classify EXPORT IMAGE");
    const OrtApi* api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (!api) fail("classify: the library of ONNX Runtime is older than the headers; build with those of its version");
    Ort::InitApi(api);
    const std::string folder = argv[1];
    std::ifstream file(folder + "/contract.json");
    const std::string contract((std::istreambuf_iterator<char>(file)), {});
    const int size = std::atoi(value(contract, "size").c_str()), resize = std::atoi(value(contract, "resize").c_str());
    if (size < 1 || resize < 1) fail(folder + "/contract.json: is no contract of an export; write one with `ssld export`");
    if (value(contract, "dtype") != "\"uint8\"")
        fail(folder + ": takes normalised numbers, not pixels; export it with --with-preprocess");
    const Image image = read(argv[2], background_of(contract));
    auto pixels = prepared(image, size, resize, value(contract, "interpolation") == "\"cubic\"");
    const auto found = probabilities(folder + "/model.onnx", pixels, size);
    std::vector<size_t> order(found.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return found[a] > found[b]; });
    for (size_t place = 0; place < std::min<size_t>(5, order.size()); ++place)
        std::printf("%.6f %zu\n", found[order[place]], order[place]);
}
