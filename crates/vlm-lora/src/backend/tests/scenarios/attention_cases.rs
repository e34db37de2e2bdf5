/// A shape of attention: heads, key heads, head size, causal, lengths of the sequences of queries and keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionCase {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) causal: bool,
    pub(crate) queries: &'static [usize],
    pub(crate) keys: &'static [usize],
}

pub(crate) const ATTENTION: [AttentionCase; 6] = [
    AttentionCase {
        heads: 6,
        kv_heads: 2,
        head_dim: 8,
        causal: true,
        queries: &[70, 1, 133],
        keys: &[70, 1, 133],
    },
    AttentionCase { heads: 3, kv_heads: 3, head_dim: 5, causal: false, queries: &[9, 66], keys: &[9, 66] },
    AttentionCase { heads: 3, kv_heads: 1, head_dim: 16, causal: true, queries: &[1, 3], keys: &[67, 40] },
    AttentionCase { heads: 2, kv_heads: 2, head_dim: 4, causal: false, queries: &[2, 1], keys: &[5, 7] },
    AttentionCase { heads: 15, kv_heads: 5, head_dim: 64, causal: true, queries: &[97], keys: &[97] },
    AttentionCase { heads: 2, kv_heads: 1, head_dim: 6, causal: true, queries: &[0, 4, 0], keys: &[0, 4, 2] },
];
