//! The order of rows in query and key projections.
//!
//! Checkpoints of transformers rotate element `i` of a head with element `i + d/2`, ggml's `llama` rotates neighbours, `2i` with
//! `2i + 1`. The rows are reordered once, so that both compute the same.

/// Rows `(heads · d, width)` in the order of transformers as `llama` takes them.
pub(super) fn to_neighbours(values: &[f32], heads: usize, width: usize) -> Vec<f32> {
    reordered(values, heads, width, |row, half| (row % 2) * half + row / 2)
}

/// The inverse of [`to_neighbours`].
pub(super) fn to_halves(values: &[f32], heads: usize, width: usize) -> Vec<f32> {
    reordered(values, heads, width, |row, half| (row % half) * 2 + row / half)
}

/// Each head's row `r` is taken from that head's row `source(r, d/2)`.
fn reordered(values: &[f32], heads: usize, width: usize, source: impl Fn(usize, usize) -> usize) -> Vec<f32> {
    let size = values.len() / heads / width;
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(size * width) {
        for row in 0..size {
            let from = source(row, size / 2) * width;
            out.extend_from_slice(&head[from..from + width]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_neighbours_and_come_back() {
        // Two heads of six rows, one value a row.
        let rows: Vec<f32> = (0_u8..12).map(f32::from).collect();
        let neighbours = to_neighbours(&rows, 2, 1);
        assert_eq!(neighbours, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
        assert_eq!(to_halves(&neighbours, 2, 1), rows);
        let wide: Vec<f32> = (0_u8..48).map(f32::from).collect();
        assert_eq!(to_halves(&to_neighbours(&wide, 3, 4), 3, 4), wide);
        assert_eq!(to_neighbours(&wide, 3, 4)[4..8], [8.0, 9.0, 10.0, 11.0], "whole rows move");
    }
}
