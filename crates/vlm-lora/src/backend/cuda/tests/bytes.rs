//! The bytes that a kernel or a product moves between the memory of a GPU and its cores, of its arguments: what it must read and
//! what it writes, each once, with operands of products in bf16. Tiles that are read again come from the cache.

use crate::backend::cuda::device::{Address, Argument, Matmul, Operands, Results};

/// An element of a product's operand.
const ELEMENT: usize = 2;
/// Words of the jobs of adapters, and of each of them.
const JOBS: usize = 8;
const JOB: usize = 9;

/// Of a product.
pub(super) fn of_product(product: &Matmul) -> usize {
    let Matmul { m, n, k, operands, accumulate, addend, bias, .. } = *product;
    let operand = match operands {
        Operands::Exact | Operands::Float32 => 4,
        Operands::Float16 | Operands::Bfloat16 => ELEMENT,
    };
    let result = if product.results == Results::Operands { operand } else { 4 };
    let results = m * n * result * (1 + usize::from(accumulate || addend.is_some()));
    (m * k + k * n) * operand + results + bias.map_or(0, |_| n * result)
}

/// The arguments of a kernel.
#[derive(Clone, Copy)]
struct Arguments<'a>(&'a [Argument]);

impl Arguments<'_> {
    fn number(self, index: usize) -> usize {
        usize::try_from(self.0[index].bits()).expect("a number that fits")
    }

    /// Of `n` elements that are written to the array and as the operand that begin here, where they are given.
    fn written(self, index: usize, n: usize) -> usize {
        let given = |index| usize::from(self.number(index) != 0);
        n * (4 * given(index) + ELEMENT * given(index + 1))
    }

    /// Width and rank of each job.
    fn jobs(self) -> impl Iterator<Item = (usize, usize)> {
        let sizes = (0..JOBS).map(move |job| self.number(JOB * job + 3));
        sizes.filter(|&both| both != 0).map(|both| (both & 0xffff_ffff, both >> 32))
    }

    /// What follows the jobs.
    fn behind_jobs(self, index: usize) -> usize {
        self.number(JOBS * JOB + index)
    }
}

/// Of a launch; `words` are the indices at an address. What is done once a step, for all layers at once, counts nothing.
pub(super) fn of_kernel(name: &str, arguments: &[Argument], words: impl Fn(Address) -> Vec<u32>) -> usize {
    let all = Arguments(arguments);
    match name {
        "sum_squares" | "clear" | "adamw" | "cross_entropy" | "row_norms_squared" | "border" | "borders" => 0,
        _ if name.starts_with("adapters") => of_adapters(name, all),
        _ if name.starts_with("attention_") && name != "attention_delta" => {
            of_attention(name, all, &words(arguments[0].bits()))
        }
        _ if name.contains("_norm") => of_norm(name, all),
        _ => of_pointwise(name, all),
    }
}

fn of_pointwise(name: &str, all: Arguments<'_>) -> usize {
    let number = |index| all.number(index);
    match name {
        "gelu" => 4 * number(3) + all.written(1, number(3)),
        "gelu_backward" | "swiglu" => 8 * number(4) + all.written(2, number(4)),
        "swiglu_backward" => 12 * number(7) + all.written(3, number(7)) + all.written(5, number(7)),
        "add" => 4 * number(2) + 8 * number(4),
        "repeat" => 4 * number(1) + 4 * number(3),
        "scale_columns" => 8 * number(4) + 4 * number(2),
        "dropout" => 8 * number(5),
        "rope" => {
            let n = 2 * number(4) * number(5);
            4 * n + all.written(0, n)
        }
        "gather_rows" => 8 * number(4),
        "scatter_rows" => (8 + 4 * number(5)) * number(4),
        "patches" => 5 * number(6),
        "embed" => (ELEMENT + 4) * number(5),
        "copy_operands" => 2 * ELEMENT * number(5),
        "swiglu_operands" => 2 * ELEMENT * number(8) + all.written(4, number(8)),
        "swiglu_backward_operands" => {
            let (n, of_dy) = (number(14), if number(0) == 0 { ELEMENT } else { 4 });
            n * (of_dy + 2 * ELEMENT) + all.written(7, n) + all.written(10, n)
        }
        "rope_operands" => 4 * ELEMENT * number(4) * number(5),
        "cast" => (4 + ELEMENT) * number(2),
        "column_dot" => 4 * number(3) * number(4) * (1 + usize::from(number(1) != 0)) + 8 * number(4),
        "cast_rows" | "widen_rows" => (4 + ELEMENT) * number(4),
        "repeat_operands" => ELEMENT * (number(1) + number(4)),
        "attention_delta" => 2 * ELEMENT * number(5) * number(7) + 4 * number(5),
        _ => panic!("nobody knows what `{name}` moves"),
    }
}

fn of_norm(name: &str, all: Arguments<'_>) -> usize {
    let (is_backward, is_layer) = (name.ends_with("_backward"), name.starts_with("layer"));
    let inputs = if is_backward { 2 } else { 1 };
    // Behind the inputs: weights, the bias of a layer norm, a small number.
    let parameters = if is_layer && !is_backward { 2 } else { 1 };
    let output = inputs + parameters + 1;
    let (rows, width) = (all.number(output + 3), all.number(output + 4));
    let read_again = if is_backward { all.number(output + 5) } else { 0 };
    4 * rows * width * (inputs + read_again) + 4 * width * parameters + all.written(output, rows * width)
}

fn of_attention(name: &str, all: Arguments<'_>, parts: &[u32]) -> usize {
    let mut sequences: Vec<[usize; 4]> = parts
        .chunks_exact(5)
        .map(|part| [part[0], part[1], part[2], part[3]].map(|number| number as usize))
        .collect();
    sequences.dedup();
    let queries: usize = sequences.iter().map(|sequence| sequence[1]).sum();
    let keys: usize = sequences.iter().map(|sequence| sequence[3]).sum();
    let sizes = all.0.len() - 5;
    let (heads, kv_heads, dim) = (all.number(sizes), all.number(sizes + 1), all.number(sizes + 2));
    let (of_queries, of_keys, sums) = (queries * heads * dim, keys * kv_heads * dim, 4 * queries * heads);
    let read = ELEMENT * (of_queries + 2 * of_keys);
    match name {
        _ if name.starts_with("attention_forward") => read + all.written(7, of_queries) + sums,
        _ if name.starts_with("attention_backward_queries") => {
            read + ELEMENT * of_queries + all.written(12, of_queries) + 2 * sums
        }
        _ => {
            let written = all.written(12, of_keys) + all.written(15, of_keys);
            read + ELEMENT * of_queries + 2 * sums + written
        }
    }
}

fn of_adapters(name: &str, all: Arguments<'_>) -> usize {
    let rows = all.behind_jobs(1);
    let of_matrices: usize = all.jobs().map(|(width, rank)| 4 * width * rank).sum();
    let of_ranks: usize = all.jobs().map(|(_, rank)| 4 * rows * rank).sum();
    let widths: Vec<usize> = all.jobs().map(|(width, _)| width).collect();
    match name {
        "adapters_down" => ELEMENT * rows * widths.iter().sum::<usize>() + of_matrices + of_ranks,
        "adapters_up" => {
            let is_joint = all.behind_jobs(2) != 0;
            let width = if is_joint { widths[0] } else { widths.iter().sum() };
            8 * rows * width + of_matrices + of_ranks
        }
        "adapters_gradient" => {
            let parts = rows.div_ceil(all.behind_jobs(2));
            let of_parts = if parts > 1 { 2 * parts * of_matrices } else { 0 };
            ELEMENT * rows * widths.iter().sum::<usize>() + of_ranks + of_parts + 2 * of_matrices
        }
        _ => panic!("nobody knows what `{name}` moves"),
    }
}
