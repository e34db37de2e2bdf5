//! Tensors of candle-core in and out, for programs that are built on candle (feature `candle`).

use candle_core::{DType, Device, Tensor};

use crate::backend::Backend;
use crate::{Checkpoint, Error, Features, Model, Param, PeftAdapter, Result, Tiles, pixel_values};

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
fn candle_error(error: candle_core::Error) -> Error {
    Error::Backend { device: "candle".to_owned(), reason: error.to_string() }
}

impl Tiles {
    /// The normalised pixels `(tiles, 3, side, side)` in f32, as a vision tower of candle-transformers takes them.
    ///
    /// # Errors
    /// When candle fails.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        let shape = (self.count(), 3, self.side, self.side);
        Tensor::from_vec(pixel_values(self), shape, device).map_err(candle_error)
    }
}

impl Features {
    /// The rows `(image tokens, width)` in f32.
    ///
    /// # Errors
    /// When candle fails.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        let rows = self.values.len() / self.width.max(1);
        Tensor::from_slice(&self.values, (rows, self.width), device).map_err(candle_error)
    }

    /// The rows of a tensor `(image tokens, width)` of any float type, such as another program computed them.
    ///
    /// # Errors
    /// When the tensor has another rank, or candle fails.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        let (_, width) = tensor.dims2().map_err(candle_error)?;
        let values = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
        Ok(Self { width, values: values.map_err(candle_error)?.into() })
    }
}

impl Checkpoint {
    /// A tensor of the checkpoint in its own element type.
    ///
    /// # Errors
    /// When there is no such tensor with this shape, or candle fails.
    pub fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        let stored = self.stored(name, shape)?;
        let dtype = DType::try_from(stored.dtype).map_err(candle_error)?;
        Tensor::from_raw_buffer(stored.bytes, dtype, shape, device).map_err(candle_error)
    }
}

impl<B: Backend> Model<B> {
    /// The trainable tensors by name with their present values, in f32.
    ///
    /// # Errors
    /// When the backend or candle fails.
    pub fn trainable_tensors(&self, device: &Device) -> Result<Vec<(String, Tensor)>> {
        let one = |param: &Param<B>| {
            let values = self.backend().download(&param.value)?;
            let tensor = Tensor::from_vec(values, param.shape.as_slice(), device).map_err(candle_error)?;
            Ok((param.name.clone(), tensor))
        };
        self.params().iter().map(one).collect()
    }
}

impl PeftAdapter {
    /// `lora_A (r, in)` and `lora_B (out, r)` of a module, in f32; `None` where the adapter is not on it.
    ///
    /// # Errors
    /// When candle fails.
    pub fn pair(&self, module: &str, device: &Device) -> Result<Option<(Tensor, Tensor)>> {
        let Some(found) = self.modules.iter().find(|found| found.spec.module == module) else {
            return Ok(None);
        };
        let (r, out, width) = (found.spec.r, found.spec.out_features, found.spec.in_features);
        let tensor = |values: &[f32], shape| Tensor::from_slice(values, shape, device).map_err(candle_error);
        Ok(Some((tensor(&found.a, (r, width))?, tensor(&found.b, (out, r))?)))
    }
}
