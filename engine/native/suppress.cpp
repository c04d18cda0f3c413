// Soft-NMS of one image, from the raw rows of its views to its results, outside Python's global lock.
//
// The definition is engine/results/soft_nms.py (Bodla et al. 2017): among all boxes not yet taken, take the one with the
// highest current score (ties: the higher original score, then the lower row), multiply the scores of the others of its
// class by a weight, until `limit` are taken or none reaches `min_score`. The way to image pixels is that of
// Placement.to_image. Both are followed operation by operation in the same precision, so only `exp` can differ.
//
// Budget   1,000 candidates of one class in 0.2 ms on one core. Scores only fall, so the score a box had when it was last
//          weighed bounds what it has now: a heap of these bounds names the only box that can be the next one. It is
//          weighed against the boxes taken since, and either is taken or sinks. Most boxes are never weighed at all.
// Memory   one block, freed before returning. Reads `count` rows of each view; writes at most `limit` rows.
// Threads  no state: any number of calls at once.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#ifdef _WIN32
#define EXPORTED extern "C" __declspec(dllexport)
#else
#define EXPORTED extern "C" __attribute__((visibility("default")))
#endif

namespace {

enum Method : int32_t { kNone = 0, kGaussian = 1, kLinear = 2, kHard = 3 };

// One view: its raw rows, and the way back to image pixels. The layouts of View and Rule are those of __init__.py.
struct View {
    float const* boxes;           // (count, 4) x1 y1 x2 y2 [px, canvas]
    float const* scores;          // (count)
    int32_t const* labels;        // (count)
    double mirrorAxis;            // x -> mirrorAxis - x, if mirrored
    double left, top;             // where the image begins on the canvas [px]
    double right, bottom;         // far sides to clip to, infinity for none [px, resized image]
    double horizontal, vertical;  // [canvas px / image px]
    int32_t count, mirrored;
};

struct Rule {
    float minusInverseSigma, iouThreshold, minScore, iouPixel;
    int32_t method, limit, dropEmpty;
};

struct Box {
    float box[4];    // x1 y1 x2 y2 [px, image]
    float edges[4];  // x1 y1 -x2 -y2: an intersection is a maximum of edges
    float area, original, current;
    int32_t row, label, weighedBy;  // weighedBy: the last taken box of its class that it was weighed against, or -1
};

// What a taken box knows: the next one of its class. Entries of a class form a list in the order of taking.
struct Taken {
    Box const* box;
    int32_t next;
};

struct ClassList {
    int32_t label, first, last;
};

float smaller(float a, float b) { return a < b ? a : b; }

float weight(Box const& box, Box const& taken, Rule const& rule) {
    float inner[4];
    for (int edge = 0; edge < 4; ++edge) inner[edge] = std::max(box.edges[edge], taken.edges[edge]);
    float const common = smaller(inner[0] + inner[2], 0.0f) * smaller(inner[1] + inner[3], 0.0f);
    if (common == 0.0f && rule.method == kGaussian) return 1.0f;  // exp(0), which most pairs are
    float const overlap = common / ((box.area + taken.area) - common);
    if (rule.method == kGaussian) return std::exp(overlap * overlap * rule.minusInverseSigma);
    if (overlap <= rule.iouThreshold) return 1.0f;
    return rule.method == kHard ? 0.0f : 1.0f - overlap;
}

// True if `a` is taken after `b`.
bool later(Box const* a, Box const* b) {
    if (a->current != b->current) return a->current < b->current;
    if (a->original != b->original) return a->original < b->original;
    return a->row > b->row;
}

void toImage(float const* raw, View const& view, float* box) {
    double x1 = raw[0], y1 = raw[1], x2 = raw[2], y2 = raw[3];
    if (view.mirrored) {
        double const mirrored = view.mirrorAxis - x1;
        x1 = view.mirrorAxis - x2;
        x2 = mirrored;
    }
    auto const back = [](double edge, double begin, double far, double scale) {
        edge = edge - begin;
        edge = edge < 0 ? 0 : edge;
        return static_cast<float>((edge > far ? far : edge) / scale);
    };
    box[0] = back(x1, view.left, view.right, view.horizontal);
    box[1] = back(y1, view.top, view.bottom, view.vertical);
    box[2] = back(x2, view.left, view.right, view.horizontal);
    box[3] = back(y2, view.top, view.bottom, view.vertical);
}

// The boxes of all views that count, in image pixels: -> how many.
int32_t gather(View const* views, int32_t viewCount, Rule const& rule, Box* boxes) {
    int32_t kept = 0, row = 0;
    for (int32_t index = 0; index < viewCount; ++index) {
        View const& view = views[index];
        for (int32_t place = 0; place < view.count; ++place, ++row) {
            float const score = view.scores[place];
            if (!(score >= rule.minScore)) continue;  // NaN too
            Box& box = boxes[kept];
            toImage(view.boxes + 4 * static_cast<int64_t>(place), view, box.box);
            float const* const b = box.box;
            if (rule.dropEmpty && !(b[2] > b[0] && b[3] > b[1])) continue;
            float* const e = box.edges;
            e[0] = b[0];
            e[1] = b[1];
            e[2] = -b[2] - rule.iouPixel;
            e[3] = -b[3] - rule.iouPixel;
            // Empty boxes divide by no zero.
            box.area = std::max(smaller(e[0] + e[2], 0.0f) * smaller(e[1] + e[3], 0.0f), 1e-12f);
            box.original = box.current = score;
            box.row = row;
            box.label = view.labels[place];
            box.weighedBy = -1;
            ++kept;
        }
    }
    return kept;
}

// The classes among the boxes, sorted, each once: -> how many.
int32_t listClasses(Box const* boxes, int32_t count, int32_t* labels, ClassList* classes) {
    for (int32_t index = 0; index < count; ++index) labels[index] = boxes[index].label;
    std::sort(labels, labels + count);
    int32_t const found = static_cast<int32_t>(std::unique(labels, labels + count) - labels);
    for (int32_t index = 0; index < found; ++index) classes[index] = {labels[index], -1, -1};
    return found;
}

}  // namespace

// Which layout of View and Rule this library was built with; __init__.py compares.
EXPORTED int32_t cornernet_native_version() { return 1; }

// -> how many rows were written to boxes (limit, 4) [px, image], scores (limit), labels (limit), best first; -1 without memory.
EXPORTED int32_t cornernet_suppress(
    View const* views, int32_t viewCount, Rule const* given, float* boxes, float* scores, int32_t* labels) {
    Rule const& rule = *given;
    int64_t rows = 0;
    for (int32_t index = 0; index < viewCount; ++index) rows += views[index].count;
    if (rows == 0 || rule.limit < 1) return 0;
    int64_t const most = std::min<int64_t>(rows, rule.limit);
    size_t const bytes
        = rows * (sizeof(Box) + sizeof(Box*) + sizeof(ClassList) + sizeof(int32_t)) + most * sizeof(Taken);
    char* const block = static_cast<char*>(std::malloc(bytes));
    if (block == nullptr) return -1;
    // In order of alignment: pointers first.
    Box** const heap = reinterpret_cast<Box**>(block);
    Taken* const taken = reinterpret_cast<Taken*>(heap + rows);
    Box* const all = reinterpret_cast<Box*>(taken + most);
    ClassList* const classes = reinterpret_cast<ClassList*>(all + rows);
    int32_t* const sorted = reinterpret_cast<int32_t*>(classes + rows);

    int32_t const count = gather(views, viewCount, rule, all);
    int32_t const classCount = listClasses(all, count, sorted, classes);
    for (int32_t index = 0; index < count; ++index) heap[index] = all + index;
    std::make_heap(heap, heap + count, later);
    int32_t waiting = count, out = 0;
    while (waiting > 0 && out < rule.limit) {
        std::pop_heap(heap, heap + waiting, later);
        Box& best = *heap[waiting - 1];
        ClassList& own = *std::lower_bound(classes, classes + classCount, best.label,
            [](ClassList const& entry, int32_t label) { return entry.label < label; });
        if (best.weighedBy != own.last && rule.method != kNone) {
            int32_t next = best.weighedBy < 0 ? own.first : taken[best.weighedBy].next;
            for (; next >= 0; next = taken[next].next) best.current *= weight(best, *taken[next].box, rule);
            best.weighedBy = own.last;
            if (best.current >= rule.minScore) std::push_heap(heap, heap + waiting, later);
            else --waiting;
            continue;
        }
        --waiting;
        taken[out] = {&best, -1};
        (own.last < 0 ? own.first : taken[own.last].next) = out;
        own.last = out;
        std::copy(best.box, best.box + 4, boxes + 4 * static_cast<int64_t>(out));
        scores[out] = best.current;
        labels[out] = best.label;
        ++out;
    }
    std::free(block);
    return out;
}
