// Stands in for libcudnn: descriptors of its backend interface, and a graph of operations that must have the form that is documented for
// attention. It is computed by its own operations, in double, from the sizes, strides and names that its tensors were given.
#include <algorithm>

#include "graph.hpp"

using namespace standin;

enum { FINE = 0, NOT_INIT = 1001, BAD = 2000, NO_WAY = 3000, INTERNAL = 4000 };
// Attributes: which descriptor has them, the type they must be given with, how many values at most.
struct Attribute {
    int kind, type;
    size_t most;
};
static const std::map<int, Attribute> ATTRIBUTES = {
    {0, {POINTWISE, 14, 1}},      {1, {POINTWISE, 1, 1}},       {9, {POINTWISE, 3, 1}},       {200, {HEURISTIC, 8, 1}},
    {201, {HEURISTIC, 15, 1}},    {400, {PLAN, 0, 1}},          {401, {PLAN, 15, 1}},         {750, {OP_POINTWISE, 15, 1}},
    {751, {OP_POINTWISE, 15, 1}}, {752, {OP_POINTWISE, 15, 1}}, {753, {OP_POINTWISE, 15, 1}}, {758, {OP_POINTWISE, 15, 1}},
    {800, {GRAPH, 0, 1}},         {801, {GRAPH, 15, 64}},       {900, {TENSOR, 3, 1}},        {901, {TENSOR, 1, 1}},
    {902, {TENSOR, 3, 8}},        {903, {TENSOR, 3, 8}},        {906, {TENSOR, 3, 1}},        {907, {TENSOR, 2, 1}},
    {908, {TENSOR, 2, 1}},        {1000, {POINTERS, 3, 16}},    {1001, {POINTERS, 6, 16}},    {1003, {POINTERS, 6, 1}},
    {1500, {MATMUL, 1, 1}},       {1520, {OP_MATMUL, 15, 1}},   {1521, {OP_MATMUL, 15, 1}},   {1522, {OP_MATMUL, 15, 1}},
    {1523, {OP_MATMUL, 15, 1}},   {1600, {REDUCE, 18, 1}},      {1601, {REDUCE, 1, 1}},       {1610, {OP_REDUCE, 15, 1}},
    {1611, {OP_REDUCE, 15, 1}},   {1612, {OP_REDUCE, 15, 1}},
};
static const std::map<int, std::vector<int>> REQUIRED = {
    {POINTWISE, {0, 1}},  {HEURISTIC, {200, 201}},      {PLAN, {400, 401}},  {OP_POINTWISE, {750, 751, 753}},
    {GRAPH, {800, 801}},  {POINTERS, {1000, 1001, 1003}}, {MATMUL, {1500}},  {TENSOR, {900, 901, 902, 903, 906}},
    {REDUCE, {1600, 1601}}, {OP_MATMUL, {1520, 1521, 1522, 1523}}, {OP_REDUCE, {1610, 1611, 1612}},
};

struct Descriptor {
    int kind;
    bool is_final = false;
    std::map<int, std::vector<u64>> values; // a word each
    std::shared_ptr<Computation> computation; // of a graph and what comes of it
    u64 workspace = 0;

    int64_t number(int name, int64_t otherwise = 0) const {
        auto found = values.find(name);
        return found == values.end() ? otherwise : (int64_t)found->second[0];
    }
    bool has(int name) const { return values.count(name) != 0; }
    Descriptor* part(int name) const { return has(name) ? (Descriptor*)number(name) : nullptr; }
};

static u64 calls = 0, failing = 0;

static Descriptor* known(void* object) { return state().descriptors.count(object) ? (Descriptor*)object : nullptr; }

// Whether this call is the one that is to fail.
static bool fails() { return ++calls == failing; }

static int bad(const char* call, const std::string& why) { return refuse(BAD, call, why); }

static bool is_tensor(const Descriptor* d) { return d && d->kind == TENSOR && d->is_final; }

static Tensor tensor_of(const Descriptor& d) {
    Tensor tensor{d.number(906), {}, {}, (int)d.number(901), d.number(907) != 0, d.number(908) != 0};
    for (int i = 0; i < 4; i++) {
        tensor.dims[i] = (int64_t)d.values.at(902)[i];
        tensor.apart[i] = (int64_t)d.values.at(903)[i];
    }
    return tensor;
}

static std::string check_tensor(const Descriptor& d) {
    if (d.values.at(902).size() != 4 || d.values.at(903).size() != 4) return "a tensor that has not four dimensions";
    const Tensor tensor = tensor_of(d);
    for (int i = 0; i < 4; i++)
        if (tensor.dims[i] <= 0 || tensor.apart[i] <= 0) return "a dimension or stride that is not positive";
    if (d.number(900) % (int64_t)tensor.bytes_each()) return "an alignment that is no multiple of the element";
    return tensor.is_nowhere && tensor.is_number ? "a number that is nowhere" : "";
}

static std::string check_product(const Tensor& a, const Tensor& b, const Tensor& c) {
    if (a.dims[2] != c.dims[2] || b.dims[3] != c.dims[3] || a.dims[3] != b.dims[2]) return "a product whose sizes do not fit";
    if (a.dims[0] != c.dims[0] || b.dims[0] != c.dims[0] || a.dims[1] != c.dims[1] || c.dims[1] % b.dims[1])
        return "a product whose batches do not fit";
    for (const Tensor* t : {&a, &b, &c})
        if (t->apart[2] != 1 && t->apart[3] != 1) return "a matrix that is packed in neither direction";
    return a.element == BFLOAT16 && b.element == BFLOAT16 ? "" : "operands that are not bf16";
}

// An operation and its tensors, which go into the graph.
static std::string read_operation(const Descriptor& d, Computation& graph) {
    const bool is_product = d.kind == OP_MATMUL, is_reduction = d.kind == OP_REDUCE;
    const int names[4] = {is_product ? 1520 : is_reduction ? 1610 : 751, is_product ? 1521 : is_reduction ? -1 : 752,
                          is_product || is_reduction ? -1 : 758, is_product ? 1522 : is_reduction ? 1611 : 753};
    const Descriptor* how = d.part(is_product ? 1523 : is_reduction ? 1612 : 750);
    if (!how || !how->is_final || how->kind != (is_product ? MATMUL : is_reduction ? REDUCE : POINTWISE)) return "how it is computed";
    int64_t found[4] = {0, 0, 0, 0};
    for (int i = 0; i < 4; i++) {
        const Descriptor* tensor = names[i] < 0 ? nullptr : d.part(names[i]);
        if (!tensor) continue;
        if (!is_tensor(tensor)) return "an operand that is no tensor";
        found[i] = tensor->number(906);
        graph.tensors.emplace(found[i], tensor_of(*tensor));
    }
    const int mode = is_product ? 0 : (int)how->number(is_reduction ? 1600 : 0);
    const Tensor &x = graph.tensors.at(found[0]), &y = graph.tensors.at(found[3]);
    if (is_product) {
        const std::string why = check_product(x, graph.tensors.at(found[1]), y);
        if (!why.empty() || how->number(1500) != FLOAT32) return why.empty() ? "a product in another type" : why;
    } else if (!(is_reduction ? y : x).fits(is_reduction ? x : y) || (found[1] && !graph.tensors.at(found[1]).fits(y))) {
        return "sizes that do not fit";
    }
    graph.operations.push_back({d.kind, mode, (int)how->number(9, -1), found[0], found[1], found[2], found[3]});
    return "";
}

// The form of the graph; that its parts are connected as they should be shows in what it computes.
static bool is_attention(const Computation& graph) {
    std::vector<int> form, plain = {-1, MUL, 1000 + REDUCE_MAX, SUB, EXP, 1000 + REDUCE_ADD, LOG, ADD, DIV, -1};
    std::vector<int> masked = plain;
    masked.insert(masked.begin() + 2, {GEN_INDEX, GEN_INDEX, CMP_GE, SELECT});
    for (const Operation& o : graph.operations)
        form.push_back(o.kind == OP_MATMUL ? -1 : o.kind == OP_REDUCE ? 1000 + o.mode : o.mode);
    return form == plain || form == masked;
}

static std::string check_graph(Descriptor& d) {
    auto graph = std::make_shared<Computation>();
    std::map<int64_t, void*> own;
    for (u64 word : d.values.at(801)) {
        Descriptor* operation = known((void*)word);
        if (!operation || !operation->is_final) return "an operation that is not finalized";
        for (auto& value : operation->values) {
            if (value.first == 750 || value.first == 1523 || value.first == 1612) continue;
            void*& tensor = own.emplace(((Descriptor*)value.second[0])->number(906), (void*)value.second[0]).first->second;
            if (tensor != (void*)value.second[0]) return "two tensors with one name";
        }
        const std::string why = read_operation(*operation, *graph);
        if (!why.empty()) return why;
    }
    std::set<int64_t> written;
    for (const Operation& o : graph->operations) {
        for (int64_t name : {o.x, o.second, o.choice})
            if (name && graph->tensors.at(name).is_nowhere && !written.count(name)) return "a tensor that nobody has written";
        if (graph->tensors.at(o.y).is_number || !written.insert(o.y).second) return "a tensor that is written twice, or a number";
    }
    d.computation = graph;
    return "";
}

extern "C" {

// The call that is to fail, counted from now, and how results are to be wrong; how many there were since this was set before.
u64 standinCudnn(u64 call, u64 how) {
    const u64 made = calls;
    calls = 0, failing = call, wrong = how;
    return made;
}

size_t cudnnGetVersion() { return setting("STANDIN_CUDNN", 92800); }
size_t cudnnGetCudartVersion() { return setting("STANDIN_CUDNN_CUDA", 13000); }
const char* cudnnGetErrorString(int status) { return status == INTERNAL ? "CUDNN_STATUS_INTERNAL_ERROR" : "CUDNN_STATUS_BAD_PARAM"; }

int cudnnCreate(void** handle) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (fails()) return INTERNAL;
    if (!is_current()) return refuse(NOT_INIT, "cudnnCreate", "no context is current in this thread");
    state().handles[*handle = new int(0)] = nullptr;
    return FINE;
}

int cudnnDestroy(void* handle) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (!state().handles.erase(handle)) return bad("cudnnDestroy", "there is no such handle");
    delete (int*)handle;
    return FINE;
}

int cudnnSetStream(void* handle, void* queue) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (fails()) return INTERNAL;
    if (!state().handles.count(handle) || !queue || !stream_of(queue)) return bad("cudnnSetStream", "no such handle or queue");
    state().handles[handle] = queue;
    return FINE;
}

int cudnnBackendCreateDescriptor(int kind, void** result) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (fails()) return INTERNAL;
    if (kind != WAY && !REQUIRED.count(kind)) return bad("cudnnBackendCreateDescriptor", "kind " + std::to_string(kind));
    Descriptor* descriptor = new Descriptor;
    descriptor->kind = kind;
    state().descriptors.insert(*result = descriptor);
    return FINE;
}

int cudnnBackendDestroyDescriptor(void* object) {
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    Descriptor* descriptor = known(object);
    if (!descriptor) return bad("cudnnBackendDestroyDescriptor", "there is no such descriptor");
    state().descriptors.erase(object);
    delete descriptor;
    return FINE;
}

int cudnnBackendSetAttribute(void* object, int name, int type, int64_t count, const void* values) {
    const char* call = "cudnnBackendSetAttribute";
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (fails()) return INTERNAL;
    Descriptor* descriptor = known(object);
    auto attribute = ATTRIBUTES.find(name);
    const std::string what = "attribute " + std::to_string(name);
    if (!descriptor || descriptor->is_final || attribute == ATTRIBUTES.end()) return bad(call, what);
    const Attribute& wanted = attribute->second;
    if (wanted.kind != descriptor->kind || wanted.type != type || count < 1 || (size_t)count > wanted.most || !values)
        return bad(call, what + " of another descriptor or type, or in another number");
    const size_t bytes = type == 2 ? 1 : type == 1 || type == 8 || type == 14 || type == 18 ? 4 : 8;
    std::vector<u64> words((size_t)count, 0);
    for (size_t i = 0; i < words.size(); i++) memcpy(&words[i], (const char*)values + i * bytes, bytes);
    for (u64 word : words) {
        const bool is_there = type == 15 ? known((void*)word) && known((void*)word)->is_final : state().handles.count((void*)word) != 0;
        if ((type == 15 || type == 0) && !is_there) return bad(call, what + ": no such descriptor or handle, or it is not finalized");
    }
    descriptor->values[name] = words;
    return FINE;
}

int cudnnBackendFinalize(void* object) {
    const char* call = "cudnnBackendFinalize";
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (fails()) return INTERNAL;
    Descriptor* d = known(object);
    if (!d || d->is_final || d->kind == WAY) return bad(call, "no such descriptor, or a finalized one");
    for (int name : REQUIRED.at(d->kind))
        if (!d->has(name)) return bad(call, "attribute " + std::to_string(name) + " is missing");
    std::string why;
    if (d->kind == TENSOR) why = check_tensor(*d);
    if (d->kind == GRAPH) why = check_graph(*d);
    if (d->kind == OP_MATMUL || d->kind == OP_REDUCE || d->kind == OP_POINTWISE) {
        Computation alone;
        why = read_operation(*d, alone);
    }
    if (!why.empty()) return bad(call, why);
    if (d->kind == HEURISTIC) {
        if (d->number(200) != 3 || !(d->computation = d->part(201)->computation)) return bad(call, "mode or graph");
        if (!is_attention(*d->computation)) return refuse(NO_WAY, call, "the form is not that of attention");
    }
    if (d->kind == PLAN) {
        d->computation = d->part(401)->computation;
        d->workspace = d->part(401)->workspace;
    }
    d->is_final = true;
    return FINE;
}

// Says that there are three ways, and gives two: one whose plan needs too much memory, and a good one.
int cudnnBackendGetAttribute(void* object, int name, int type, int64_t room, int64_t* count, void* values) {
    const char* call = "cudnnBackendGetAttribute";
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (fails()) return INTERNAL;
    Descriptor* d = known(object);
    if (d && d->is_final && d->kind == PLAN && name == 402 && type == 3 && room == 1) {
        memcpy(values, &d->workspace, 8);
        *count = 1;
        return FINE;
    }
    if (!d || !d->is_final || d->kind != HEURISTIC || name != 202 || type != 15 || (room && !values)) return bad(call, "attribute");
    if (room == 0) {
        *count = 3;
        return FINE;
    }
    for (int64_t i = 0; i < std::min<int64_t>(room, 2); i++) {
        Descriptor* way = known(((void**)values)[i]);
        if (!way || way->kind != WAY) return bad(call, "room for a way");
        way->is_final = true;
        way->computation = d->computation;
        way->workspace = i == 0 ? 64u << 20 : 256;
    }
    *count = 2;
    return FINE;
}

int cudnnBackendExecute(void* handle, void* plan, void* pointers) {
    const char* call = "cudnnBackendExecute";
    std::lock_guard<std::recursive_mutex> guard(state().lock);
    if (fails()) return INTERNAL;
    Descriptor *how = known(plan), *with = known(pointers);
    if (check_context(call) || !state().handles.count(handle) || !state().handles[handle]) return bad(call, "handle, queue or context");
    if (!how || how->kind != PLAN || !how->is_final || !with || with->kind != POINTERS || !with->is_final)
        return bad(call, "no plan, or nothing to work on");
    const std::vector<u64> &names = with->values.at(1000), &addresses = with->values.at(1001);
    if (names.size() != addresses.size()) return bad(call, "as many names as pointers");
    std::map<int64_t, u64> at;
    for (size_t i = 0; i < names.size(); i++) at[(int64_t)names[i]] = addresses[i];
    Work work{call, {}, nullptr};
    Values numbers;
    size_t used = 0;
    for (auto& [name, tensor] : how->computation->tensors) {
        if (tensor.is_nowhere) continue;
        if (!at.count(name)) return bad(call, "tensor " + std::to_string(name) + " has no pointer");
        used++;
        if (tensor.is_number) {
            if (is_device((void*)at[name], 4)) return bad(call, "a number that is on the device");
            numbers[name] = {*(const float*)at[name] * (wrong == 1 && name == 6 ? 1.2 : 1.0)};
            continue;
        }
        if (at[name] % 16 || !block(at[name], tensor.extent())) return bad(call, "a tensor that is not in one block, or its alignment");
        bool is_written = false;
        for (const Operation& o : how->computation->operations) is_written |= o.y == name;
        work.ranges.push_back({at[name], tensor.extent(), is_written});
    }
    if (used != names.size()) return bad(call, "pointers to tensors that the graph does not have");
    const u64 workspace = with->values.at(1003)[0];
    if (how->workspace && !block(workspace, how->workspace)) return bad(call, "the workspace");
    if (how->workspace) work.ranges.push_back({workspace, how->workspace, true});
    work.run = [=, graph = how->computation] { return run(*graph, at, numbers); };
    state().attended++;
    enqueue(*stream_of(state().handles[handle]), std::move(work));
    return FINE;
}

} // extern "C"
