// A graph of operations on tensors, as cuDNN has them, computed in double.
#pragma once
#include <memory>

#include "matrix.hpp"

namespace standin {

enum { POINTWISE = 0, WAY = 3, HEURISTIC = 4, PLAN = 5, OP_POINTWISE = 13, GRAPH = 15, POINTERS = 16, TENSOR = 17, MATMUL = 18,
       OP_MATMUL = 19, REDUCE = 21, OP_REDUCE = 22 };
enum { FLOAT32 = 0, INT32 = 4, BFLOAT16 = 9, BOOLEAN = 11 };
enum { ADD = 0, MUL = 1, DIV = 6, SUB = 9, EXP = 13, LOG = 15, CMP_GE = 303, GEN_INDEX = 501, SELECT = 601 };
enum { REDUCE_ADD = 0, REDUCE_MAX = 3 };

struct Tensor {
    int64_t name, dims[4], apart[4];
    int element;
    bool is_nowhere, is_number;

    size_t count() const { return (size_t)(dims[0] * dims[1] * dims[2] * dims[3]); }
    size_t bytes_each() const { return element == BFLOAT16 ? 2 : element == BOOLEAN ? 1 : 4; }
    size_t extent() const {
        int64_t last = 0;
        for (int i = 0; i < 4; i++) last += (dims[i] - 1) * apart[i];
        return (size_t)(last + 1) * bytes_each();
    }
    // Where element `at` of those in order lies.
    size_t place(size_t at) const {
        size_t place = 0;
        for (int i = 3; i >= 0; i--) {
            place += at % (size_t)dims[i] * (size_t)apart[i];
            at /= (size_t)dims[i];
        }
        return place;
    }
    // The element that belongs to element `at` of a tensor of these dimensions; dimensions of 1 are repeated.
    size_t matching(size_t at, const Tensor& of) const {
        size_t index[4], found = 0;
        for (int i = 3; i >= 0; i--) {
            index[i] = at % (size_t)of.dims[i];
            at /= (size_t)of.dims[i];
        }
        for (int i = 0; i < 4; i++) found = found * (size_t)dims[i] + (dims[i] == 1 ? 0 : index[i]);
        return found;
    }
    bool fits(const Tensor& of) const {
        for (int i = 0; i < 4; i++)
            if (dims[i] != 1 && dims[i] != of.dims[i]) return false;
        return true;
    }
};

struct Operation {
    int kind, mode, axis;
    int64_t x, second, choice, y; // names of tensors; 0 is none
};

struct Computation {
    std::map<int64_t, Tensor> tensors;
    std::vector<Operation> operations;
};

// How results are to be wrong: 1 another scale, 2 rows that change places, 3 a row less, 4 log-sum-exps in
// powers of two.
inline u64 wrong = 0;

inline double rounded(double value, int element) {
    return element == BFLOAT16 ? (double)of_bits((u32)to_bf16((float)value) << 16) : value;
}

typedef std::map<int64_t, std::vector<double>> Values;

inline double pointwise(int mode, double x, double b, double choice) {
    switch (mode) {
        case ADD: return x + b;
        case MUL: return x * b;
        case DIV: return x / b;
        case SUB: return x - b;
        case EXP: return exp(x);
        case LOG: return log(x);
        case CMP_GE: return x >= b;
        default: return choice != 0.0 ? x : b;
    }
}

inline void compute(const Computation& graph, const Operation& o, Values& values) {
    const Tensor &x = graph.tensors.at(o.x), &y = graph.tensors.at(o.y);
    const std::vector<double>& from = values.at(o.x);
    std::vector<double> to(y.count(), 0.0);
    if (o.kind == OP_MATMUL) {
        const Tensor& b = graph.tensors.at(o.second);
        const size_t m = (size_t)y.dims[2], n = (size_t)y.dims[3], k = (size_t)x.dims[3], heads = (size_t)y.dims[1];
        const size_t shared = heads / (size_t)b.dims[1];
        for (size_t at = 0; at < to.size(); at++) {
            const size_t j = at % n, i = at / n % m, h = at / n / m % heads, s = at / n / m / heads;
            const double* left = &from[((s * heads + h) * m + i) * k];
            const double* right = &values.at(o.second)[(s * (size_t)b.dims[1] + h / shared) * k * n + j];
            for (size_t l = 0; l < k; l++) to[at] += left[l] * right[l * n];
        }
    } else if (o.kind == OP_REDUCE) {
        if (o.mode == REDUCE_MAX) to.assign(to.size(), -INFINITY);
        for (size_t at = 0; at < from.size(); at++) {
            double& sum = to[y.matching(at, x)];
            sum = o.mode == REDUCE_MAX ? std::max(sum, from[at]) : sum + from[at];
        }
    } else {
        for (size_t at = 0; at < to.size(); at++) {
            const double own = from[x.matching(at, y)];
            const double b = o.second ? values.at(o.second)[graph.tensors.at(o.second).matching(at, y)] : 0.0;
            const double choice = o.choice ? values.at(o.choice)[graph.tensors.at(o.choice).matching(at, y)] : 0.0;
            size_t index = at;
            for (int i = 3; o.mode == GEN_INDEX && i > o.axis; i--) index /= (size_t)y.dims[i];
            to[at] = o.mode == GEN_INDEX ? (double)(index % (size_t)y.dims[o.axis]) : pointwise(o.mode, own, b, choice);
        }
    }
    for (double& value : to) value = rounded(value, y.element);
    values[o.y] = std::move(to);
}

// Reads what is on the device, computes, and writes what belongs there.
inline bool run(const Computation& graph, const std::map<int64_t, u64>& at, Values values) {
    for (auto& [name, tensor] : graph.tensors) {
        if (tensor.is_nowhere || tensor.is_number) continue;
        std::vector<double>& own = values[name];
        own.resize(tensor.count());
        for (size_t i = 0; i < own.size(); i++)
            own[i] = element(at.at(name), tensor.place(i), tensor.element == BFLOAT16 ? R_16BF : R_32F, false);
    }
    for (const Operation& o : graph.operations) compute(graph, o, values);
    for (const Operation& o : graph.operations) {
        const Tensor& y = graph.tensors.at(o.y);
        if (y.is_nowhere) continue;
        for (size_t i = 0; i < y.count(); i++) {
            const float value = (float)values.at(o.y)[wrong == 2 ? (i ^ (size_t)y.dims[3]) % y.count() : i];
            if (wrong == 3 && i + (size_t)y.dims[3] >= y.count()) break; // the last row is left out
            if (y.element == BFLOAT16) ((uint16_t*)at.at(o.y))[y.place(i)] = to_bf16(value);
            else ((float*)at.at(o.y))[y.place(i)] = wrong == 4 ? value * 1.442695f : value;
        }
    }
    return true;
}

} // namespace standin
