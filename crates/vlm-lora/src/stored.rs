use safetensors::Dtype;

/// How a frozen matrix is stored in a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Element type: F32, F16 or BF16 (F64 in tests).
    pub dtype: Dtype,
    /// Little-endian row-major bytes.
    pub bytes: &'a [u8],
}
