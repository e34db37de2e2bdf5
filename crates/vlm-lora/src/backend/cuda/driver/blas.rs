//! Products by cuBLAS.

use std::ffi::{c_int, c_void};
use std::ptr;

use cudarc::cublas::{result as cublas, sys as cublas_sys};
use cudarc::driver::{CudaStream, result as cuda};

use super::{Driver, failed, profile};
use crate::Result;
use crate::backend::cuda::check::to_u32;
use crate::backend::cuda::device::{Address, Argument, Device as _, Factor, Launch, Matmul, Operands};
use crate::backend::cuda::{MOST_BLOCKS, THREADS};

/// cuBLAS with the queue of the device, and 0 and 1 on the device.
pub(super) struct Blas {
    handle: cublas_sys::cublasHandle_t,
    zero_and_one: Address,
}

// SAFETY: a handle that one thread at a time may use; it is kept in a mutex.
unsafe impl Send for Blas {}

impl Blas {
    pub(super) fn open(stream: &CudaStream) -> Result<Self> {
        let handle = cublas::create_handle().map_err(|error| failed("cuBLAS does not start", error))?;
        // SAFETY: the handle is new, the stream is of the current context and outlives it.
        unsafe { cublas::set_stream(handle, stream.cu_stream().cast()) }
            .map_err(|error| failed("cuBLAS does not take the queue", error))?;
        // SAFETY: the context is current.
        let zero_and_one = unsafe { cuda::malloc_sync(8) }.map_err(|error| failed("no memory", error))?;
        // In the queue, because a copy outside it may still be on its way when the call returns.
        // SAFETY: eight bytes were allocated; pageable memory is copied away before the call returns.
        unsafe { cuda::memcpy_htod_async(zero_and_one, &[0_f32, 1.0], stream.cu_stream()) }
            .map_err(|error| failed("a copy to the device", error))?;
        Ok(Self { handle, zero_and_one })
    }

    /// Where a 0 is on the device.
    pub(super) fn zero(&self) -> Address {
        self.zero_and_one
    }

    /// Queues a product, without its bias. cuBLAS counts by columns: what is a row-major matrix here is its transpose there, so the operands
    /// change places.
    pub(super) fn multiply(&self, product: &Matmul) -> Result<()> {
        let size = |value: usize| -> Result<c_int> { Ok(to_u32("a product of", value)?.cast_signed()) };
        let (m, n, k) = (size(product.m)?, size(product.n)?, size(product.k)?);
        let operation = |transposed: bool| {
            if transposed {
                cublas_sys::cublasOperation_t::CUBLAS_OP_T
            } else {
                cublas_sys::cublasOperation_t::CUBLAS_OP_N
            }
        };
        let (element, compute) = types(product.operands);
        let beta = f32::from(u8::from(product.accumulate));
        let (mode, alpha_at, beta_at): (_, *const c_void, *const c_void) = match &product.factor {
            Factor::Value(alpha) => (
                cublas_sys::cublasPointerMode_t::CUBLAS_POINTER_MODE_HOST,
                ptr::from_ref(alpha).cast(),
                ptr::from_ref(&beta).cast(),
            ),
            Factor::At(alpha) => (
                cublas_sys::cublasPointerMode_t::CUBLAS_POINTER_MODE_DEVICE,
                *alpha as *const c_void,
                (self.zero_and_one + 4 * u64::from(product.accumulate)) as *const c_void,
            ),
        };
        // SAFETY: the handle is open; the operands are allocated in the sizes that the product names, the factors live until
        // the call returns or are on the device.
        unsafe {
            cublas_sys::cublasSetPointerMode_v2(self.handle, mode)
                .result()
                .map_err(|error| failed("cuBLAS", error_name(error.0)))?;
            cublas::gemm_ex(
                self.handle,
                operation(product.transpose_b),
                operation(product.transpose_a),
                n,
                m,
                k,
                alpha_at,
                product.b as *const c_void,
                element,
                if product.transpose_b { k } else { n },
                product.a as *const c_void,
                element,
                if product.transpose_a { m } else { k },
                beta_at,
                product.c as *mut c_void,
                cublas_sys::cudaDataType::CUDA_R_32F,
                n,
                compute,
                cublas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(|error| failed(&format!("a product of ({m}, {k}) and ({k}, {n})"), error_name(error.0)))
    }
}

fn error_name(status: cublas_sys::cublasStatus_t) -> String {
    format!("{status:?}")
}

impl Blas {
    /// Gives back what it holds, when nothing is queued any more.
    pub(super) fn close(&mut self) {
        // SAFETY: the caller has waited for the queue and calls this once. Errors have nobody to go to.
        unsafe {
            let _ = cublas::destroy_handle(self.handle);
            let _ = cuda::free_sync(self.zero_and_one);
        }
    }
}

impl Driver {
    /// A product whose result begins as its bias, or as what stands there with it: a pass that writes it and one that reads it
    /// more than with [`CublasLt`](super::CublasLt).
    pub(super) fn matmul_after_bias(&self, blas: &Blas, product: &Matmul, bias: Address) -> Result<()> {
        let n = product.m * product.n;
        let blocks = n.div_ceil(THREADS as usize).min(MOST_BLOCKS) as u32;
        let period = to_u32("a row of", product.n)?;
        let (c, n): (Argument, Argument) = (product.c.into(), (n as u64).into());
        let (kernel, arguments) = if product.accumulate {
            ("add", vec![1_f32.into(), bias.into(), period.into(), c, n])
        } else {
            ("repeat", vec![bias.into(), period.into(), c, n])
        };
        self.launch(Launch { kernel, grid: [blocks, 1], threads: THREADS, arguments: &arguments })?;
        let name = profile::name_of(product);
        *self.fallbacks().entry(name.clone()).or_default() += 1;
        let begun = self.begin()?;
        blas.multiply(&Matmul { accumulate: true, bias: None, ..*product })?;
        self.end(begun, || name)
    }
}

/// The type of the operands and of the computation.
fn types(operands: Operands) -> (cublas_sys::cudaDataType, cublas_sys::cublasComputeType_t) {
    use cublas_sys::cublasComputeType_t::{CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32};
    use cublas_sys::cudaDataType::{CUDA_R_16BF, CUDA_R_16F, CUDA_R_32F};
    match operands {
        Operands::Exact => (CUDA_R_32F, CUBLAS_COMPUTE_32F),
        Operands::Float32 => (CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32),
        Operands::Float16 => (CUDA_R_16F, CUBLAS_COMPUTE_32F),
        Operands::Bfloat16 => (CUDA_R_16BF, CUBLAS_COMPUTE_32F),
    }
}
