//! What the fakes are asked, each in a process of its own, which [`super`] starts.

use std::path::PathBuf;

use crate::Stored;
use half::bf16;
use safetensors::Dtype;

use crate::backend::cuda::device::{Device, Factor, Launch, Matmul, Operands, Results};
use crate::backend::cuda::driver::Driver;
use crate::backend::cuda::tests::check_on_device;
use crate::backend::cuda::{
    Cuda, CudaDtype, CudaOptions, FoundDriver, FoundLibrary, library_folders, survey,
};
use crate::backend::{Backend as _, FrozenLinear, GpuProfile, Kernels as _};
use crate::train::{BaseModelConfig, GpuSettings};
use crate::{Checkpoint, Error, Result};

fn open() -> Result<Cuda> {
    Cuda::open(&CudaOptions::default())
}

fn driver() -> Result<Driver> {
    Ok(Driver::open(&CudaOptions { dtype: Some(CudaDtype::Float32), ..CudaOptions::default() })?.0)
}

/// On a GPU of one MiB: what is free is given back before anybody hears that there is not enough, though it is in use.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn memory_that_runs_out_is_given_back_first() -> Result<()> {
    let cuda = open()?;
    let (free, total) = cuda.memory()?;
    assert!(total == 1 << 20 && free < total, "{free} of {total}");
    for quarters in [1, 2, 3] {
        let buffer = cuda.zeros(quarters << 16)?;
        drop(buffer);
    }
    assert_eq!(cuda.download(&cuda.zeros(5)?)?, [0.0; 5]);
    let error = cuda.zeros(1 << 20).unwrap_err().to_string();
    assert!(error.contains("load_in_8bit") && error.contains("CUDA_ERROR_OUT_OF_MEMORY"), "{error}");
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn a_gpu_without_bf16_takes_f16() -> Result<()> {
    let cuda = open()?;
    assert_eq!(cuda.dtype(), CudaDtype::Float16);
    assert!(cuda.name().contains("compute capability 7.5"), "{}", cuda.name());
    check_on_device(&cuda, CudaDtype::Float16)?;
    let bf16 = CudaOptions { dtype: Some(CudaDtype::Bfloat16), ..CudaOptions::default() };
    assert!(matches!(Cuda::open(&bf16), Err(Error::Unsupported { .. })));
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn a_gpu_that_is_too_old_is_refused() {
    let error = open().unwrap_err();
    assert!(matches!(&error, Error::Unsupported { what } if what.contains("7.0")), "{error}");
}

/// The second time they come from the folder; for another GPU they would not be loaded.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn kernels_are_kept() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = CudaOptions { kernel_cache: Some(folder.path().to_owned()), ..CudaOptions::default() };
    for _ in 0..2 {
        let cuda = Cuda::open(&options)?;
        let x = cuda.upload(&[1.0, 2.0])?;
        let mut y = cuda.upload(&[3.0, 4.0])?;
        cuda.add(2.0, &x, &mut y)?;
        assert_eq!(cuda.download(&y)?, [5.0, 8.0]);
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder is there").count(), 1);
    }
    Ok(())
}

/// Numbers that every type holds, so that results are exact.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn biases_are_added() -> Result<()> {
    let (m, n, k) = (4, 5, 3);
    let number = |i: usize| (i % 7) as f32 - 3.0;
    let (x, bias): (Vec<f32>, Vec<f32>) =
        ((2..2 + m * k).map(number).collect(), (1..=n).map(number).collect());
    let bytes: Vec<u8> = (0..n * k).flat_map(|i| bf16::from_f32(number(i)).to_le_bytes()).collect();
    let result = |i: usize| {
        let (row, column) = (i / n, i % n);
        (0..k).map(|l| x[row * k + l] * number(column * k + l)).sum::<f32>() + bias[column]
    };
    let expected: Vec<f32> = (0..m * n).map(result).collect();
    for dtype in [CudaDtype::Float32, CudaDtype::Float16, CudaDtype::Bfloat16] {
        let cuda = Cuda::open(&CudaOptions { dtype: Some(dtype), ..CudaOptions::default() })?;
        let weight = cuda.weight(Stored { dtype: Dtype::BF16, bytes: &bytes }, n, k)?;
        let (x, bias, mut y) = (cuda.upload(&x)?, cuda.upload(&bias)?, cuda.scratch(m * n)?);
        cuda.linear(&x, m, &weight, Some(&bias), &mut y)?;
        assert_eq!(cuda.download(&y)?, expected, "{dtype:?}");
    }
    Ok(())
}

/// Products that are added to what is there, and activations that a product gives.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn products_end_as_their_readers_want_them() -> Result<()> {
    let (m, n, k) = (4, 8, 16);
    let number = |i: usize| (i % 7) as f32 - 3.0;
    let numbers = |count: usize| (0..count).map(number).collect::<Vec<f32>>();
    let bytes: Vec<u8> = (0..n * k).flat_map(|i| bf16::from_f32(number(i) / 8.0).to_le_bytes()).collect();
    let product = |x: &[f32], i: usize, j: usize, k: usize| -> f32 {
        (0..k).map(|l| x[i * k + l] * number(j * k + l) / 8.0).sum()
    };
    let gelu = |x: f32| 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x.powi(3))).tanh());
    let (x, bias) = (numbers(m * k), numbers(n));
    let first: Vec<f32> = (0..m * n).map(|i| product(&x, i / n, i % n, k) + bias[i % n]).collect();
    let activated: Vec<f32> = first.iter().map(|&value| gelu(value)).collect();
    for dtype in [CudaDtype::Float32, CudaDtype::Float16, CudaDtype::Bfloat16] {
        let cuda = Cuda::open(&CudaOptions { dtype: Some(dtype), ..CudaOptions::default() })?;
        let weight = |n, k| cuda.weight(Stored { dtype: Dtype::BF16, bytes: &bytes }, n, k);
        let (up, down) = (weight(n, k)?, weight(k, n)?);
        let (x, bias, mut y) = (cuda.upload(&x)?, cuda.upload(&bias)?, cuda.upload(&numbers(m * n))?);
        let up = || FrozenLinear { weight: &up, bias: Some(&bias) };
        cuda.linear_onto(&x, m, up(), &mut y)?;
        let expected: Vec<f32> = first.iter().zip(numbers(m * n)).map(|(one, other)| one + other).collect();
        assert_eq!(cuda.download(&y)?, expected, "{dtype:?}");
        let mut y = cuda.upload(&numbers(m * k))?;
        cuda.perceptron_onto(&x, m, up(), FrozenLinear { weight: &down, bias: None }, &mut y)?;
        for (i, value) in cuda.download(&y)?.into_iter().enumerate() {
            let expected = number(i) + product(&activated, i / k, i % k, n);
            assert!((value - expected).abs() < 0.1, "{i}: {value} for {expected} in {dtype:?}");
        }
    }
    Ok(())
}

/// The folders of the environment alone, whatever else the machine has.
fn folders() -> Vec<PathBuf> {
    let environment = PathBuf::from(std::env::var_os("VIRTUAL_ENV").expect("it is set"));
    let mut folders = library_folders(|name| std::env::var_os(name));
    folders.retain(|folder| folder.starts_with(&environment));
    folders
}

fn of_environment() -> CudaOptions {
    CudaOptions { library_folders: folders(), ..CudaOptions::default() }
}

/// Opens a GPU with what was found, and has it add.
fn add_on(options: &CudaOptions) -> Result<String> {
    let cuda = Cuda::open(options)?;
    let x = cuda.upload(&[1.0, 2.0])?;
    let mut y = cuda.upload(&[3.0, 4.0])?;
    cuda.add(2.0, &x, &mut y)?;
    assert_eq!(cuda.download(&y)?, [5.0, 8.0]);
    Ok(cuda.name())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn libraries_of_a_python_environment_are_found() -> Result<()> {
    let options = of_environment();
    add_on(&options)?;
    let found = survey(&options);
    assert_eq!(found.driver, Ok(Some(FoundDriver { version: (13, 0) })));
    assert!(found.missing.is_empty() && found.libraries.len() == 4, "{found:?}");
    for FoundLibrary { name, path, version } in &found.libraries {
        let path = path.as_deref().expect("Linux says");
        assert!(path.starts_with(std::env::var_os("VIRTUAL_ENV").expect("it is set")), "{name}: {path:?}");
        let expected = if name == "libcudnn" { (9, 28) } else { (13, 0) };
        assert_eq!(*version, Some(expected), "{name}");
    }
    let [gpu] = &found.gpus[..] else { panic!("one GPU: {found:?}") };
    assert_eq!((gpu.model.as_str(), gpu.capability), ("Stand-in", (9, 0)));
    assert!(gpu.opened.is_ok() && gpu.free.is_some_and(|free| free < gpu.memory), "{gpu:?}");
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn libraries_that_are_too_new_are_refused() {
    let error = Cuda::open(&of_environment()).unwrap_err().to_string();
    assert!(error.contains("the driver runs CUDA 12.4") && error.contains("is of CUDA 13"), "{error}");
    assert!(error.contains("`pip install nvidia-cublas-cu12`"), "{error}");
    let found = survey(&of_environment());
    assert_eq!(found.missing.len(), 4, "{found:?}");
    assert_eq!(found.gpus[0].opened, Err(error));
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn a_gpu_that_is_newer_than_the_compiler_is_used() -> Result<()> {
    let name = add_on(&of_environment())?;
    assert!(name.contains("compute capability 12.0, kernels translated from 9.0"), "{name}");
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn a_gpu_that_others_fill_is_refused() {
    let error = Cuda::open(&of_environment()).unwrap_err().to_string();
    assert!(error.contains("memory is held by other programs") && error.contains("nvidia-smi"), "{error}");
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn the_first_gpu_that_can_be_used_is_taken() -> Result<()> {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parity/text-all/model");
    let settings = GpuSettings { library_folders: folders(), ..GpuSettings::default() };
    let chosen = BaseModelConfig::default().open_device(&Checkpoint::open(model)?, &settings)?;
    assert!(chosen.device.name().starts_with("cuda:1"), "{}", chosen.device.name());
    let passed_over = chosen.passed_over.expect("the first GPU is full").to_string();
    assert!(passed_over.contains("nvidia-smi"), "{passed_over}");
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn a_library_is_missing() {
    let wanted = std::env::var("WANTED").expect("it is set");
    let error = Cuda::open(&of_environment()).unwrap_err().to_string();
    assert!(error.contains(&wanted), "{error}");
}

/// A millisecond for each kernel; the product with a bias goes the long way.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn what_is_queued_is_timed() -> Result<()> {
    let cuda = Cuda::open(&CudaOptions { profile: true, ..CudaOptions::default() })?;
    let weight = cuda.weight(Stored { dtype: Dtype::BF16, bytes: &[0; 2 * 4 * 3] }, 4, 3)?;
    let (x, bias, mut y) = (cuda.upload(&[0.0; 6])?, cuda.upload(&[1.0; 4])?, cuda.scratch(8)?);
    for _ in 0..2 {
        cuda.linear(&x, 2, &weight, Some(&bias), &mut y)?;
    }
    let (down, mut sum) =
        (cuda.weight(Stored { dtype: Dtype::BF16, bytes: &[0; 2 * 4 * 3] }, 3, 4)?, cuda.zeros(6)?);
    let up = FrozenLinear { weight: &weight, bias: Some(&bias) };
    cuda.perceptron_onto(&x, 2, up, FrozenLinear { weight: &down, bias: None }, &mut sum)?;
    let GpuProfile { lines, fallbacks } = cuda.profile()?;
    let product = "product 2 x 3 x 4 bf16 + bias".to_owned();
    assert_eq!(fallbacks, [(product.clone(), 3), (format!("{product}, gelu"), 1)].into());
    let found =
        |name: &str| lines.iter().find(|line| line.name == name).map(|line| (line.calls, line.milliseconds));
    assert_eq!(found(&product), Some((3, 3.0)), "{lines:?}");
    assert_eq!(found("repeat"), Some((3, 3.0)), "{lines:?}");
    assert_eq!(found("product 2 x 4 x 3 bf16, added"), Some((1, 1.0)), "{lines:?}");
    // The input, and the bias of a product that could have ended in activations.
    assert_eq!(found("cast"), Some((2, 2.0)), "{lines:?}");
    assert!(open()?.profile()?.lines.is_empty(), "nothing is timed that nobody asked for");
    Ok(())
}

fn matmul(a: u64, b: u64, c: u64) -> Matmul {
    Matmul {
        m: 8,
        n: 8,
        k: 8,
        transpose_a: false,
        transpose_b: false,
        a,
        b,
        c,
        strides: [8; 3],
        results: Results::Float32,
        operands: Operands::Exact,
        factor: Factor::Value(1.0),
        accumulate: false,
        addend: None,
        bias: None,
    }
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn wrong_calls_are_refused() -> Result<()> {
    let device = driver()?;
    let at = device.allocate(256)?;
    assert!(device.write(at + 252, &[0; 8]).is_err());
    assert!(device.read(at + 252, &mut [0; 8]).is_err());
    assert!(device.clear(at - 4, 8).is_err());
    assert!(device.copy(at, at + 192, 65).is_err());
    assert!(device.matmul(matmul(at, at, at + 4)).is_err());
    let factor = Factor::At(0);
    assert!(device.matmul(Matmul { factor, ..matmul(at, at, at) }).is_err());
    let launch = |kernel| Launch { kernel, grid: [1, 1], threads: 33, arguments: &[] };
    let error = device.launch(launch("nothing")).unwrap_err().to_string();
    assert!(error.contains("there is no kernel `nothing`"), "{error}");
    assert!(device.launch(launch("add")).is_err());
    device.free(at + 8);
    device.clear(at, 256)?;
    device.free(at);
    device.free(at);
    assert!(device.clear(at, 4).is_err());
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn a_write_behind_a_block_breaks_the_context() -> Result<()> {
    let device = driver()?;
    let at = device.allocate(256)?;
    let arguments = [at.into(), 1_u32.into(), at.into(), 65_u64.into()];
    device.launch(Launch { kernel: "repeat", grid: [1, 1], threads: 96, arguments: &arguments })?;
    let error = device.read(at, &mut [0; 4]).unwrap_err().to_string();
    assert!(error.contains("the device did not finish its work"), "{error}");
    assert!(device.clear(at, 4).is_err(), "nothing works after that");
    Ok(())
}

/// A copy that begins before its reader is done, and one that nobody waits for.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn copies_that_do_not_wait_are_found() -> Result<()> {
    let device = driver()?;
    let at = device.allocate(256)?;
    let start = device.mark()?;
    device.write_async(at, &[1; 256], &start)?;
    device.clear(at, 256)?;
    device.free(at);
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn what_is_not_given_back_is_found() -> Result<()> {
    driver()?.allocate(256)?;
    Ok(())
}
