//! Products with a bias or an addend by cuBLASLt, which adds them to each result before that is written. Where the library is missing or has
//! no way for a product, the caller takes two passes more.

use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;

use cudarc::cublaslt::{result as lt, sys};
use cudarc::driver::{CudaStream, result as cuda, sys as cuda_sys};

use super::failed;
use crate::Result;
use crate::backend::cuda::device::{Address, Factor, Matmul, Operands, Results};

/// Shapes that are remembered; with more of them all are forgotten.
const MOST_PLANS: usize = 256;
/// What cuBLAS itself takes on Hopper and later, and on other GPUs.
const WORKSPACE: [usize; 2] = [32 << 20, 4 << 20];
/// Partial sums are added up in the workspace, in a fixed order; not in place.
const REDUCTIONS: u32 = 6;

use sys::cublasLtMatmulDescAttributes_t as Attribute;
use sys::cublasLtMatmulPreferenceAttributes_t as Preference;

/// What becomes of the results of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// The bias is added, where there is one.
    Bias,
    /// The same, and `gelu` taken of them.
    Gelu,
}

/// What decides how a product is computed: its sizes, strides, types, what becomes of the results, which operands are transposed, whether
/// the factor is on the device, and the alignments of A, B and C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    sizes: [usize; 3],
    strides: [usize; 3],
    transposed: [bool; 2],
    operands: Operands,
    results: Results,
    ending: Ending,
    has_bias: bool,
    on_device: bool,
    /// Of A, B, C and the addend.
    alignments: [u32; 4],
}

/// How products of a shape are computed.
struct Plan {
    description: sys::cublasLtMatmulDesc_t,
    /// Of the operands in cuBLAS's order, and of the result.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The library with memory to work in.
pub(super) struct CublasLt {
    handle: sys::cublasLtHandle_t,
    stream: cuda_sys::CUstream,
    workspace: Address,
    workspace_bytes: usize,
    /// `None` where the library has no way.
    plans: HashMap<Shape, Option<Plan>>,
}

// SAFETY: handles that one thread at a time may use; they are kept in a mutex.
unsafe impl Send for CublasLt {}

/// What a call of the library gives.
type Attempt<T> = std::result::Result<T, lt::CublasError>;

/// The largest power of two that divides an address, up to what the library asks of its own choice.
fn alignment(at: Address) -> u32 {
    1 << at.trailing_zeros().min(8)
}

fn shape(product: &Matmul, ending: Ending) -> Shape {
    let Matmul { m, n, k, transpose_a, transpose_b, a, b, c, strides, results, operands, factor, .. } =
        *product;
    Shape {
        sizes: [m, n, k],
        strides,
        transposed: [transpose_a, transpose_b],
        operands,
        results,
        ending,
        has_bias: product.bias.is_some(),
        on_device: matches!(factor, Factor::At(_)),
        alignments: [a, b, c, product.addend.unwrap_or(c)].map(alignment),
    }
}

/// Sets an attribute of a description or a preference.
macro_rules! set {
    ($call:path, $object:expr, $name:expr, $value:expr) => {{
        let value = $value;
        // SAFETY: the object is alive, the attribute has the type of the value.
        unsafe { $call($object, $name, ptr::from_ref(&value).cast(), size_of_val(&value)) }
    }};
}

impl CublasLt {
    /// `None` where memory for it is missing or it does not start. The library is open; the stream must outlive the result.
    pub(super) fn open(stream: &CudaStream, capability: (i32, i32)) -> Option<Self> {
        let workspace_bytes = WORKSPACE[usize::from(capability < (9, 0))];
        // SAFETY: the context is current.
        let workspace = unsafe { cuda::malloc_sync(workspace_bytes) }.ok()?;
        let Ok(handle) = lt::create_handle() else {
            // SAFETY: allocated above. An error has nobody to go to.
            let _ = unsafe { cuda::free_sync(workspace) };
            return None;
        };
        let stream = stream.cu_stream();
        Some(Self { handle, stream, workspace, workspace_bytes, plans: HashMap::new() })
    }

    /// Queues a product with its bias and its addend, and says whether it did. At `zero` a 0 and a 1 are on the device.
    pub(super) fn multiply(&mut self, product: &Matmul, zero: Address, ending: Ending) -> Result<bool> {
        let shape = shape(product, ending);
        if !self.plans.contains_key(&shape) {
            if self.plans.len() >= MOST_PLANS {
                self.forget();
            }
            let plan = self.plan(product, &shape);
            self.plans.insert(shape, plan);
        }
        let Some(Some(plan)) = self.plans.get(&shape) else { return Ok(false) };
        match self.queue(plan, product, zero) {
            Ok(()) => Ok(true),
            Err(lt::CublasError(
                sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED
                | sys::cublasStatus_t::CUBLAS_STATUS_NOT_INITIALIZED,
            )) => {
                if let Some(Some(plan)) = self.plans.insert(shape, None) {
                    plan.close();
                }
                Ok(false)
            }
            Err(error) => Err(failed("a product with what is added", format!("{:?}", error.0))),
        }
    }

    fn queue(&self, plan: &Plan, product: &Matmul, zero: Address) -> Attempt<()> {
        let is_added = product.accumulate || product.addend.is_some();
        let beta = f32::from(u8::from(is_added));
        let (alpha_at, beta_at): (*const c_void, *const c_void) = match &product.factor {
            Factor::Value(alpha) => (ptr::from_ref(alpha).cast(), ptr::from_ref(&beta).cast()),
            Factor::At(alpha) => (*alpha as *const c_void, (zero + 4 * u64::from(is_added)) as *const c_void),
        };
        let [first, second, result] = plan.layouts;
        let to = product.c as *mut c_void;
        let from = product.addend.map_or(to.cast_const(), |addend| addend as *const c_void);
        if let Some(bias) = product.bias {
            let pointer = Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            set!(lt::set_matmul_desc_attribute, plan.description, pointer, bias)?;
        }
        // SAFETY: the operands are allocated in the sizes that the layouts name, the factors live until the call returns or are
        // on the device; one product after the other uses the workspace.
        unsafe {
            lt::matmul(
                self.handle,
                plan.description,
                alpha_at,
                beta_at,
                product.b as *const c_void,
                first,
                product.a as *const c_void,
                second,
                from,
                result,
                to,
                result,
                &raw const plan.algorithm,
                self.workspace as *mut c_void,
                self.workspace_bytes,
                self.stream.cast(),
            )
        }
    }

    fn plan(&self, product: &Matmul, shape: &Shape) -> Option<Plan> {
        let mut plan = Plan::new(product, shape).ok()?;
        if let Ok(algorithm) = self.algorithm(&plan, shape.alignments) {
            plan.algorithm = algorithm;
            return Some(plan);
        }
        plan.close();
        None
    }

    /// What the library deems fastest.
    fn algorithm(&self, plan: &Plan, [a, b, c, addend]: [u32; 4]) -> Attempt<sys::cublasLtMatmulAlgo_t> {
        let preference = lt::create_matmul_pref()?;
        let bytes = self.workspace_bytes;
        let numbers = [
            (Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, REDUCTIONS),
            // cuBLAS counts by columns, so the operands change places.
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, addend),
            (Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c),
        ];
        let name = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        let found = set!(lt::set_matmul_pref_attribute, preference, name, bytes)
            .and_then(|()| {
                numbers.into_iter().try_for_each(|(name, value)| {
                    set!(lt::set_matmul_pref_attribute, preference, name, value)
                })
            })
            .and_then(|()| {
                let [first, second, result] = plan.layouts;
                // SAFETY: all of these are alive.
                unsafe {
                    lt::get_matmul_algo_heuristic(
                        self.handle,
                        plan.description,
                        first,
                        second,
                        result,
                        result,
                        preference,
                    )
                }
            });
        // SAFETY: created above and not used any more. An error has nobody to go to.
        let _ = unsafe { lt::destroy_matmul_pref(preference) };
        Ok(found?.algo)
    }

    fn forget(&mut self) {
        self.plans.drain().filter_map(|(_, plan)| plan).for_each(Plan::close);
    }

    /// Gives back what it holds, when nothing is queued any more.
    pub(super) fn close(&mut self) {
        self.forget();
        // SAFETY: the caller has waited for the queue and calls this once. Errors have nobody to go to.
        unsafe {
            let _ = lt::destroy_handle(self.handle);
            let _ = cuda::free_sync(self.workspace);
        }
    }
}

impl Plan {
    /// Descriptions of the product and of its matrices, without an algorithm.
    fn new(product: &Matmul, shape: &Shape) -> Attempt<Self> {
        let (element, compute) = types(product.operands);
        let mut plan = Self {
            description: lt::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?,
            layouts: [ptr::null_mut(); 3],
            algorithm: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        };
        let result =
            if product.results == Results::Operands { element } else { sys::cudaDataType::CUDA_R_32F };
        let described = plan.describe(product, shape);
        if let Err(error) = described.and_then(|()| plan.lay_out(product, element, result)) {
            plan.close();
            return Err(error);
        }
        Ok(plan)
    }

    fn describe(&self, product: &Matmul, shape: &Shape) -> Attempt<()> {
        let mode = if shape.on_device {
            sys::cublasLtPointerMode_t::CUBLASLT_POINTER_MODE_DEVICE
        } else {
            sys::cublasLtPointerMode_t::CUBLASLT_POINTER_MODE_HOST
        };
        let epilogue = match shape.ending {
            Ending::Bias if !shape.has_bias => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
            Ending::Bias => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            Ending::Gelu => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_BIAS,
        };
        // 1 is a transposed operand, 0 one as it is.
        let numbers = [
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSA, u32::from(product.transpose_b)),
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, u32::from(product.transpose_a)),
            (Attribute::CUBLASLT_MATMUL_DESC_POINTER_MODE, mode as u32),
            (Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue as u32),
        ];
        numbers
            .into_iter()
            .try_for_each(|(name, value)| set!(lt::set_matmul_desc_attribute, self.description, name, value))
    }

    /// cuBLAS counts by columns: what is a row-major matrix here is its transpose there, so the operands change places, and the
    /// bias has an element for each row of the result.
    fn lay_out(
        &mut self,
        product: &Matmul,
        element: sys::cudaDataType,
        result: sys::cudaDataType,
    ) -> Attempt<()> {
        let Matmul { m, n, k, transpose_a, transpose_b, .. } = *product;
        let first = if transpose_b { (k, n) } else { (n, k) };
        let second = if transpose_a { (m, k) } else { (k, m) };
        let matrices = [(element, first), (element, second), (result, (n, m))];
        let [of_a, of_b, of_c] = product.strides;
        let all = self.layouts.iter_mut().zip(matrices).zip([of_b, of_a, of_c]);
        for ((layout, (kind, (rows, columns))), apart) in all {
            let apart = apart.cast_signed() as i64;
            *layout = lt::create_matrix_layout(kind, rows as u64, columns as u64, apart)?;
        }
        Ok(())
    }

    fn close(self) {
        for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
            // SAFETY: created in `new` and not used any more. An error has nobody to go to.
            let _ = unsafe { lt::destroy_matrix_layout(layout) };
        }
        // SAFETY: as above.
        let _ = unsafe { lt::destroy_matmul_desc(self.description) };
    }
}

/// The type of the operands and of the computation.
fn types(operands: Operands) -> (sys::cudaDataType, sys::cublasComputeType_t) {
    use sys::cublasComputeType_t::{CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32};
    use sys::cudaDataType::{CUDA_R_16BF, CUDA_R_16F, CUDA_R_32F};
    match operands {
        Operands::Exact => (CUDA_R_32F, CUBLAS_COMPUTE_32F),
        Operands::Float32 => (CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32),
        Operands::Float16 => (CUDA_R_16F, CUBLAS_COMPUTE_32F),
        Operands::Bfloat16 => (CUDA_R_16BF, CUBLAS_COMPUTE_32F),
    }
}
