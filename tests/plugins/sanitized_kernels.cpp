// Runs every kernel on odd shapes under the sanitizers, and compares with straightforward loops.
//
// The exact comparison with the oracles, ties and NaN included, is in the Python tests; this program is for what only
// a sanitized process shows: reads and writes outside any buffer, in shared memory as in device memory.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

#include "corner_group.h"
#include "corner_peaks.h"
#include "corner_pool.h"
#include "corner_soft_nms.h"
#include "corner_windows.h"
#include "place_views.h"

extern "C" void host_cuda_configure(unsigned seed, int compute_capability, int multiprocessors);

namespace {

int failures = 0;

void check(bool holds, char const* what) {
    if (holds) return;
    fprintf(stderr, "FAILED: %s\n", what);
    ++failures;
}

std::vector<float> random_floats(size_t count, unsigned seed, float levels = 1000) {
    std::mt19937 random(seed);
    std::vector<float> values(count);
    for (float& value : values)
        value = std::floor(std::uniform_real_distribution<float>(-8, 2)(random) * levels) / levels;
    return values;
}

void pool_matches_loops(int planes, int h, int w) {
    size_t const count = static_cast<size_t>(planes) * h * w;
    std::vector<float> const a = random_floats(count, 1), b = random_floats(count, 2);
    std::vector<float> pooled(count), expected(count);
    check(cornernet_corner_pool(a.data(), b.data(), pooled.data(), 1, planes, h, w, 0, 0, 0, nullptr) == 0,
        "corner_pool launches");
    for (int p = 0; p < planes; ++p)
        for (int i = h - 1; i >= 0; --i)
            for (int j = w - 1; j >= 0; --j) {
                size_t const at = (static_cast<size_t>(p) * h + i) * w + j;
                float column = a[at], row = b[at];
                for (int k = i; k < h; ++k) column = std::max(column, a[at + static_cast<size_t>(k - i) * w]);
                for (int k = j; k < w; ++k) row = std::max(row, b[at + k - j]);
                expected[at] = column + row;
            }
    check(pooled == expected, "corner_pool equals its definition");
}

void channels_last_stays_inside(int images, int channels, int h, int w) {
    size_t const count = static_cast<size_t>(images) * h * w * ((channels + 7) / 8 * 8);
    auto* const memory = static_cast<uint16_t*>(std::aligned_alloc(16, 3 * count * sizeof(uint16_t)));
    std::fill(memory, memory + 2 * count, uint16_t{0x3c00});  // ones
    for (int corner = 0; corner < 2; ++corner)
        check(cornernet_corner_pool(
                  memory, memory + count, memory + 2 * count, images, channels, h, w, 1, 1, corner, nullptr)
                  == 0,
            "kHWC8 launches");
    check(std::all_of(memory + 2 * count, memory + 3 * count, [](uint16_t v) { return v == 0x4000; }),
        "one plus one is two everywhere");
    std::free(memory);
}

void peaks_are_sorted(int classes, int h, int w, int top_k, float levels) {
    std::vector<float> const logits = random_floats(static_cast<size_t>(2) * classes * h * w, 3, levels);
    std::vector<float> scores(2 * top_k);
    std::vector<int32_t> labels(2 * top_k), cells(2 * top_k);
    std::vector<char> workspace(cornernet_corner_peaks_workspace(2, classes, h, w, top_k));
    check(cornernet_corner_peaks(logits.data(), scores.data(), labels.data(), cells.data(), workspace.data(), 2,
              classes, h, w, top_k, 0, nullptr)
              == 0,
        "corner_peaks launches");
    for (int image = 0; image < 2; ++image)
        for (int slot = 0; slot < top_k; ++slot) {
            int const at = image * top_k + slot;
            if (slot > 0) check(scores[at - 1] >= scores[at], "peaks come in descending order");
            if (labels[at] < 0) continue;
            float const logit = logits[(static_cast<size_t>(image) * classes + labels[at]) * h * w + cells[at]];
            check(std::fabs(scores[at] - 1 / (1 + std::exp(-logit))) < 1e-6f, "a score is the sigmoid of its logit");
        }
}

void windows_stay_inside(int channels, int h, int w, int size) {
    std::vector<int32_t> cells(static_cast<size_t>(2) * h * w);
    for (size_t i = 0; i < cells.size(); ++i) cells[i] = static_cast<int32_t>(i % (static_cast<size_t>(h) * w));
    int const slots = h * w, area = size * size;
    std::vector<float> columns(cells.size()), rows(cells.size());
    for (int layout = 0; layout < 2; ++layout) {
        size_t const depth = layout == 0 ? channels : (channels + 7) / 8 * 8;
        size_t const wide = layout == 0 ? channels * area : (channels * area + 7) / 8 * 8;
        size_t const count = 2 * depth * slots, written = 2 * wide * slots;
        auto* const memory = static_cast<uint16_t*>(std::aligned_alloc(16, (count + 8 + written) / 8 * 16));
        auto* const windows = memory + (count + 7) / 8 * 8;
        std::fill(memory, memory + count, uint16_t{0x3c00});  // ones
        check(cornernet_corner_windows(memory, cells.data(), windows, columns.data(), rows.data(), 2, channels, h, w,
                  slots, size, 1, layout, nullptr)
                  == 0,
            "corner_windows launches");
        check(std::all_of(windows, windows + written, [](uint16_t v) { return v == 0 || v == 0x3c00; }),
            "a window holds cells of the map and zeros");
        std::free(memory);
    }
}

void groups_are_sorted(int corners, int num_dets) {
    std::vector<std::vector<float>> fields;
    for (unsigned i = 0; i < 10; ++i) fields.push_back(random_floats(static_cast<size_t>(2) * corners, 10 + i, 20));
    std::vector<int32_t> const labels(2 * static_cast<size_t>(corners), 1);
    std::vector<void const*> inputs;
    for (unsigned i = 0; i < 10; ++i)
        inputs.push_back(i % 5 == 1 ? static_cast<void const*>(labels.data()) : fields[i].data());
    std::vector<float> boxes(8 * num_dets), scores(2 * num_dets), corner_scores(4 * num_dets);
    std::vector<int32_t> out_labels(2 * num_dets), counts(2);
    void* const outputs[5] = {boxes.data(), scores.data(), corner_scores.data(), out_labels.data(), counts.data()};
    std::vector<char> workspace(cornernet_corner_group_workspace(2, corners));
    check(cornernet_corner_group(inputs.data(), outputs, workspace.data(), 2, corners, num_dets, 2.0f, 0, nullptr) == 0,
        "corner_group launches");
    for (int image = 0; image < 2; ++image)
        for (int row = 0; row < num_dets; ++row) {
            int const at = image * num_dets + row;
            if (row < counts[image])
                check(
                    boxes[4 * at] <= boxes[4 * at + 2] && boxes[4 * at + 1] <= boxes[4 * at + 3], "boxes are ordered");
            else check(scores[at] == -1 && out_labels[at] == -1, "unused rows are marked");
            if (row > 0 && row < counts[image]) check(scores[at - 1] >= scores[at], "boxes come in descending order");
        }
}

// What lies outside the rectangle, on either side, is no memory of this program.
void places_stay_inside(int rows, int columns, int resized_rows, int resized_columns, int scaling) {
    std::vector<uint8_t> const pixels(static_cast<size_t>(rows) * columns * 3, 9);
    std::vector<CornernetView> views;
    for (int mirrored = 0; mirrored < 2; ++mirrored) {
        views.push_back({pixels.data(), 3 * columns, 3, 1, rows, columns, resized_rows, resized_columns, -1, 2,
            resized_rows, resized_columns, mirrored, scaling});
        views.push_back({pixels.data() + pixels.size() - 1, -3 * columns, -3, -1, rows, columns, resized_rows,
            resized_columns, 3, -2, resized_rows, resized_columns, mirrored, scaling});
    }
    int const height = resized_rows + 2, width = resized_columns + 1;
    std::vector<uint8_t> canvases(views.size() * height * width * 3);
    uint8_t const fill[3] = {9, 9, 9};
    check(cornernet_place_views(
              views.data(), static_cast<int>(views.size()), canvases.data(), height, width, fill, nullptr)
              == 0,
        "place_views launches");
    check(std::all_of(canvases.begin(), canvases.end(), [](uint8_t value) { return value == 9; }),
        "a grey image on grey is grey everywhere");
    for (int whole = 0; whole < 2; ++whole) {
        std::vector<float> levels(canvases.size());
        check(cornernet_place_float_views(
                  views.data(), static_cast<int>(views.size()), levels.data(), height, width, whole, fill, nullptr)
                  == 0,
            "place_float_views launches");
        check(std::all_of(levels.begin(), levels.end(), [](float value) { return value == 9; }),
            "and in floats");
    }
}

void soft_nms_stays_inside(int candidates, int limit) {
    std::vector<float> const boxes(8 * static_cast<size_t>(candidates), 2.0f), scores(2 * candidates, 0.5f);
    std::vector<int32_t> const labels(2 * static_cast<size_t>(candidates), 3), counts = {candidates, candidates / 2};
    std::vector<float> const placements
        = {0, 0, 9, 9, 1, 1, 1, 1, std::nanf(""), 1, 1, 9, 9, 2, 1, 2, 1, 8};
    std::vector<float> out_boxes(8 * limit), out_scores(2 * limit);
    std::vector<int32_t> out_labels(2 * limit), out_counts(2);
    void const* const inputs[5] = {boxes.data(), scores.data(), labels.data(), counts.data(), placements.data()};
    void* const outputs[4] = {out_boxes.data(), out_scores.data(), out_labels.data(), out_counts.data()};
    check(cornernet_corner_soft_nms(inputs, outputs, 2, candidates, limit, 1, 0.5f, 0.5f, 0.001f, 0, 0, nullptr) == 0,
        "corner_soft_nms launches");
    for (int image = 0; image < 2; ++image) {
        check(out_counts[image] == std::min(limit, counts[image]), "boxes without extent weaken nothing");
        for (int row = 0; row < limit; ++row)
            check((out_labels[image * limit + row] == 3) == (row < out_counts[image]), "unused rows are marked");
    }
}

}  // namespace

int main() {
    for (unsigned seed = 0; seed < 3; ++seed) {
        host_cuda_configure(seed, 9, 132);
        for (auto [h, w] : {std::pair{1, 1}, {5, 129}, {70, 36}, {33, 1024}, {130, 3}}) pool_matches_loops(2, h, w);
        channels_last_stays_inside(1, 9, 40, 33);
        channels_last_stays_inside(1, 3, 3, 300);
        for (auto [h, w] : {std::pair{1, 1}, {61, 67}, {128, 128}}) peaks_are_sorted(3, h, w, 100, 1000);
        peaks_are_sorted(2, 96, 64, 1000, 1);
        windows_stay_inside(70, 3, 5, 3);
        windows_stay_inside(9, 4, 4, 1);
        for (int candidates : {1, 70, 1500}) soft_nms_stays_inside(candidates, 9);
        for (int corners : {1, 33, 100}) groups_are_sorted(corners, 100);
        groups_are_sorted(100, 3840);
        for (auto [rows, columns] : {std::pair{1, 1}, {7, 40}, {66, 33}, {20, 90}})
            for (int scaling = 0; scaling < 3; ++scaling) {
                places_stay_inside(rows, columns, 20, 30, scaling);
                places_stay_inside(rows, columns, 1, 1, scaling);
                places_stay_inside(rows, columns, rows, columns, scaling);
            }
    }
    puts(failures == 0 ? "all kernels agree with their definitions" : "some kernels disagree");
    return failures == 0 ? 0 : 1;
}
