//! cuDNN's interface on a stand-in, in processes of their own that the tests of the other libraries' stand-ins start.

use half::bf16;
use libloading::Library;
use safetensors::Dtype;

use super::*;
use crate::backend::cuda::device::{Address, Device as _};
use crate::backend::cuda::{Cuda, CudaDtype};
use crate::backend::tests::scenarios::values;
use crate::backend::{Attention, AttentionInputs, Backend as _, GpuProfile, Kernels as _};
use crate::{Result, Stored};

/// One after the other on the device: queries, keys and values, which may be columns of one matrix.
struct Case {
    shape: EvenShape,
    numbers: Vec<bf16>,
    starts: [usize; 3],
}

impl Case {
    fn new(sizes: [usize; 5], causal: bool, is_packed: bool) -> Self {
        let [sequences, length, heads, kv_heads, head_dim] = sizes;
        let (rows, q, kv) = (sequences * length, heads * head_dim, kv_heads * head_dim);
        let (apart, starts) = if is_packed {
            ([q + 2 * kv; 3], [0, q, q + kv])
        } else {
            ([q, kv, kv], [0, rows * q, rows * (q + kv)])
        };
        let shape = EvenShape { sequences, length, heads, kv_heads, head_dim, causal, apart };
        let numbers = values(rows * (q + 2 * kv), 3).into_iter().map(|x| bf16::from_f64(3.0 * x)).collect();
        Self { shape, numbers, starts }
    }

    fn at(&self, of: usize, row: usize, head: usize, i: usize) -> f64 {
        let EvenShape { apart, head_dim, .. } = self.shape;
        self.numbers[self.starts[of] + row * apart[of] + head * head_dim + i].to_f64()
    }

    /// Results and log-sum-exps in f64.
    fn expected(&self, scale: f64) -> [Vec<f64>; 2] {
        let EvenShape { sequences, length, heads, kv_heads, head_dim, causal, .. } = self.shape;
        let mut expected = [Vec::new(), Vec::new()];
        for (row, head) in (0..sequences * length).flat_map(|row| (0..heads).map(move |head| (row, head))) {
            let (first, of) = (row / length * length, head * kv_heads / heads);
            let keys = first..if causal { row + 1 } else { first + length };
            let score =
                |key| (0..head_dim).map(|i| self.at(0, row, head, i) * self.at(1, key, of, i)).sum::<f64>();
            let powers: Vec<f64> = keys.clone().map(|key| (scale * score(key)).exp()).collect();
            let sum: f64 = powers.iter().sum();
            let result =
                |i| keys.clone().zip(&powers).map(|(key, power)| power / sum * self.at(2, key, of, i)).sum();
            expected[0].extend((0..head_dim).map(result).collect::<Vec<f64>>());
            expected[1].push(sum.ln());
        }
        expected
    }

    /// Places its numbers, and room for the results behind them, which is not a number yet.
    fn place(&self, device: &Driver, has_lse: bool) -> Result<EvenAttention> {
        let EvenShape { sequences, length, heads, head_dim, .. } = self.shape;
        let results = sequences * length * heads;
        let at = device.allocate(2 * self.numbers.len())?;
        let bytes: Vec<u8> = self.numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        device.write(at, &bytes)?;
        let [q, k, v] = self.starts.map(|start| at + 2 * start as Address);
        let o = device.allocate(2 * results * head_dim)?;
        let lse = has_lse.then(|| device.allocate(4 * results)).transpose()?;
        Ok(EvenAttention { shape: self.shape, q, k, v, o, lse, scale: 0.3 })
    }
}

fn give_back(device: &Driver, attention: &EvenAttention) {
    [Some(attention.q), Some(attention.o), attention.lse]
        .into_iter()
        .flatten()
        .for_each(|at| device.free(at));
}

fn driver() -> Result<Driver> {
    let options = CudaOptions { dtype: Some(CudaDtype::Bfloat16), ..CudaOptions::default() };
    Ok(Driver::open(&options)?.0)
}

fn worst(found: impl Iterator<Item = f64>, expected: &[f64]) -> f64 {
    found.zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max)
}

/// Heads that share keys, masks, columns of one matrix, one row, lengths that are no tiles; with log-sum-exps and without.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn attention_is_that_of_f64() -> Result<()> {
    let device = driver()?;
    for sizes in [[2, 5, 2, 2, 16], [3, 4, 6, 2, 8], [1, 9, 3, 1, 64], [2, 1, 2, 2, 8]] {
        for (causal, is_packed, has_lse) in (0..8).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0)) {
            let case = Case::new(sizes, causal, is_packed);
            let attention = case.place(&device, has_lse)?;
            assert!(device.attention(&attention)?, "{:?}", device.fallbacks());
            let [o, lse] = case.expected(0.3);
            let mut bytes = vec![0; 2 * o.len()];
            device.read(attention.o, &mut bytes)?;
            let found = bytes.as_chunks::<2>().0.iter().map(|&two| bf16::from_le_bytes(two).to_f64());
            let off = worst(found, &o);
            assert!(off < 0.03, "{sizes:?}, masked {causal}, packed {is_packed}: off by {off}");
            if let Some(at) = attention.lse {
                let mut bytes = vec![0; 4 * lse.len()];
                device.read(at, &mut bytes)?;
                let found = bytes.as_chunks::<4>().0.iter().map(|&four| f64::from(f32::from_le_bytes(four)));
                let off = worst(found, &lse);
                assert!(off < 1e-5, "{sizes:?}, masked {causal}: log-sum-exps off by {off}");
            }
            give_back(&device, &attention);
            forget(&device);
        }
    }
    assert!(device.fallbacks().is_empty(), "{:?}", device.fallbacks());
    Ok(())
}

/// As if nobody had asked cuDNN yet.
fn forget(device: &Driver) {
    assert!(device.finish());
    if let Some(Ok(cudnn)) = device.cudnn().take() {
        cudnn.close();
    }
}

/// Which call of the stand-in fails, counted from now, and how it computes wrongly; how many calls there were.
fn disturb(call: u64, wrong: u64) -> u64 {
    // SAFETY: the stand-in's own function, of this type.
    unsafe {
        let library = Library::new("libcudnn.so.9").expect("the stand-in is there");
        let set =
            library.get::<unsafe extern "C" fn(u64, u64) -> u64>(b"standinCudnn\0").expect("it has this");
        set(call, wrong)
    }
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn every_call_may_fail() -> Result<()> {
    let device = driver()?;
    let attention = Case::new([2, 5, 2, 2, 16], true, false).place(&device, true)?;
    disturb(0, 0);
    assert!(device.attention(&attention)?);
    let calls = disturb(0, 0);
    assert!(calls > 250, "{calls} calls");
    forget(&device);
    let mut survived = 0;
    for call in 1..=calls {
        disturb(call, 0);
        let is_queued = device.attention(&attention)?;
        disturb(0, 0);
        // Without a failure now: the answer stays, and so does the reason.
        assert_eq!(device.attention(&attention)?, is_queued, "call {call}");
        let said = std::mem::take(&mut *device.fallbacks());
        let reason = said.first_key_value().map(|(reason, times)| (reason.as_str(), *times));
        match reason {
            None => survived += 1,
            Some((reason, times)) => {
                assert!(
                    reason.ends_with("CUDNN_STATUS_INTERNAL_ERROR") && times == 2,
                    "call {call}: {said:?}"
                );
            }
        }
        assert_eq!(said.is_empty(), is_queued, "call {call}: {said:?}");
        forget(&device);
    }
    // A plan of the way that is not taken.
    assert_eq!(survived, 5);
    give_back(&device, &attention);
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn addresses_and_shapes_beyond_its_reach_are_left() -> Result<()> {
    let device = driver()?;
    let case = Case::new([1, 4, 2, 2, 8], false, false);
    let attention = case.place(&device, false)?;
    assert!(!device.attention(&EvenAttention { k: attention.k + 8, ..attention })?);
    for length in 0..=MOST_PLANS {
        // All of them begin where the first does.
        let shape = EvenShape { length: 4, sequences: 1, apart: [16 + 8 * length, 16, 16], ..case.shape };
        let wide = device.allocate(2 * 4 * (16 + 8 * MOST_PLANS))?;
        let queued = device.attention(&EvenAttention { shape, q: wide, ..attention })?;
        assert_eq!(queued, length < MOST_PLANS, "{length}");
        device.free(wide);
    }
    assert_eq!(device.fallbacks().values().sum::<usize>(), 2, "{:?}", device.fallbacks());
    give_back(&device, &attention);
    Ok(())
}

/// The product of attention's results with a matrix, as a frozen block takes it.
fn block_of(cuda: &Cuda, causal: bool, offsets: &[usize]) -> Result<Vec<u32>> {
    let (rows, heads, head_dim) = (offsets[offsets.len() - 1], 2, 16);
    let width = heads * head_dim;
    let bytes: Vec<u8> =
        values(width * 3, 9).into_iter().flat_map(|x| bf16::from_f64(x).to_le_bytes()).collect();
    let matrix = cuda.weight(Stored { dtype: Dtype::BF16, bytes: &bytes }, 3, width)?;
    let new = |seed| cuda.upload_f64(&values(rows * width, seed));
    let (q, k, v) = (new(1)?, new(2)?, new(3)?);
    let (mut o, mut lse) = (cuda.scratch_for_products(rows * width)?, cuda.scratch(rows * heads)?);
    let shape =
        Attention { heads, kv_heads: heads, head_dim, causal, q_offsets: offsets, k_offsets: offsets };
    cuda.attention(shape, AttentionInputs { q: &q, k: &k, v: &v }, &mut o, &mut lse)?;
    let mut y = cuda.scratch(rows * 3)?;
    cuda.linear(&o, rows, &matrix, None, &mut y)?;
    Ok(cuda.download(&y)?.into_iter().map(f32::to_bits).collect())
}

const EVEN: [usize; 4] = [0, 40, 80, 120];

fn cuda(without_cudnn: bool) -> Result<Cuda> {
    let dtype = Some(CudaDtype::Bfloat16);
    Cuda::open(&CudaOptions { dtype, without_cudnn, profile: true, ..CudaOptions::default() })
}

/// How often attention was queued: by the kernels, by cuDNN.
fn times(profile: &GpuProfile) -> [usize; 2] {
    ["attention_forward_64", "attention 3 x 40"].map(|name| {
        profile.lines.iter().filter(|line| line.name.starts_with(name)).map(|line| line.calls).sum()
    })
}

/// The first use is held against the kernels.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn sequences_of_one_length_go_to_cudnn() -> Result<()> {
    let (ours, theirs) = (cuda(true)?, cuda(false)?);
    let expected = block_of(&ours, false, &EVEN)?;
    for _ in 0..3 {
        let found = block_of(&theirs, false, &EVEN)?;
        let pairs = found.iter().zip(&expected);
        let off = pairs.map(|(&one, &other)| (f32::from_bits(one) - f32::from_bits(other)).abs());
        assert!(off.fold(0.0, f32::max) < 0.03);
    }
    let profile = theirs.profile()?;
    assert_eq!(times(&profile), [1, 4], "{profile:?}");
    assert!(profile.fallbacks.is_empty(), "{profile:?}");
    // Lengths that differ, and masks, are the kernels' own.
    for (causal, offsets) in [(true, &EVEN[..]), (false, &[0, 40, 90])] {
        assert_eq!(block_of(&theirs, causal, offsets)?, block_of(&ours, causal, offsets)?);
    }
    assert_eq!(times(&theirs.profile()?), [3, 4]);
    let without = ours.profile()?;
    assert_eq!((times(&without)[1], without.fallbacks.len()), (0, 1), "{without:?}");
    Ok(())
}

#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn a_library_that_computes_wrongly_is_left_alone() -> Result<()> {
    let expected = block_of(&cuda(true)?, false, &EVEN)?;
    for wrong in 1..=4 {
        disturb(0, wrong);
        let cuda = cuda(false)?;
        for _ in 0..3 {
            assert_eq!(block_of(&cuda, false, &EVEN)?, expected, "wrong in way {wrong}");
        }
        // Nor for anything else.
        block_of(&cuda, false, &EVEN[..3])?;
        let GpuProfile { lines, fallbacks } = cuda.profile()?;
        let calls: usize =
            lines.iter().filter(|line| line.name.starts_with("attention ")).map(|line| line.calls).sum();
        assert_eq!(calls, 1, "it is tried once: {lines:?}");
        assert!(fallbacks.keys().any(|why| why.contains(" are off by ")), "{fallbacks:?}");
    }
    disturb(0, 0);
    Ok(())
}

/// One that is not whole, or not for this machine: what is said of it.
#[test]
#[ignore = "asks fakes for NVIDIA's libraries"]
fn what_is_wrong_with_a_library_is_said() -> Result<()> {
    let wanted = std::env::var("WANTED").expect("it is set");
    let expected = block_of(&cuda(true)?, false, &EVEN)?;
    let cuda = cuda(false)?;
    for _ in 0..3 {
        assert_eq!(block_of(&cuda, false, &EVEN)?, expected);
    }
    let fallbacks = cuda.profile()?.fallbacks;
    let said: Vec<_> = fallbacks.into_iter().collect();
    assert!(said.len() == 1 && said[0].1 == 1 && said[0].0.contains(&wanted), "{said:?} has no {wanted}");
    Ok(())
}
