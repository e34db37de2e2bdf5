use half::{bf16, f16};
use safetensors::Dtype;

use crate::Stored;
use crate::{Error, Result};

/// The elements as f32.
pub(crate) fn decode(stored: Stored<'_>) -> Result<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|chunk| value(*chunk)).collect()
    }
    match stored.dtype {
        Dtype::F32 => Ok(each(stored.bytes, f32::from_le_bytes)),
        Dtype::F16 => Ok(each(stored.bytes, |bytes| f16::from_le_bytes(bytes).to_f32())),
        Dtype::BF16 => Ok(each(stored.bytes, |bytes| bf16::from_le_bytes(bytes).to_f32())),
        other => Err(Error::Unsupported { what: format!("the element type {other:?}") }),
    }
}

/// Appends the values as little-endian elements of `dtype`, rounded to nearest even.
pub(crate) fn encode_into(values: &[f32], dtype: Dtype, bytes: &mut Vec<u8>) -> Result<()> {
    match dtype {
        Dtype::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        Dtype::F16 => bytes.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes())),
        Dtype::BF16 => bytes.extend(values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes())),
        other => return Err(Error::Unsupported { what: format!("the element type {other:?}") }),
    }
    Ok(())
}
