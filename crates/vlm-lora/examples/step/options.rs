//! Command line of the timer.

use std::path::PathBuf;

use vlm_lora::ModelDtype;
use vlm_lora::backend::{IntegerKernel, Isa};

use super::AnyResult;

/// What is measured.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "one a switch of the command line")]
pub(crate) struct Options {
    pub(crate) dtype: ModelDtype,
    pub(crate) load_in_8bit: bool,
    pub(crate) edge: usize,
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    pub(crate) passes: usize,
    pub(crate) rank: usize,
    pub(crate) of: usize,
    pub(crate) port: u16,
    pub(crate) answer: usize,
    pub(crate) threads: usize,
    pub(crate) ckpt: bool,
    pub(crate) cached: bool,
    pub(crate) forward_only: bool,
    pub(crate) rate: bool,
    pub(crate) profile: bool,
    pub(crate) without_cudnn: bool,
    pub(crate) isa: Option<Isa>,
    pub(crate) integers: Option<IntegerKernel>,
    pub(crate) device: String,
    pub(crate) slides: usize,
    pub(crate) epochs: f64,
    pub(crate) model: Option<PathBuf>,
    pub(crate) write: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse() -> AnyResult<Self> {
        let mut options = Self {
            dtype: ModelDtype::Float32,
            load_in_8bit: false,
            edge: 2048,
            steps: 3,
            batch: 1,
            passes: 1,
            rank: 0,
            of: 1,
            port: 0,
            answer: 40,
            threads: 2,
            ckpt: false,
            cached: false,
            forward_only: false,
            rate: false,
            profile: false,
            without_cudnn: false,
            isa: None,
            integers: None,
            device: "cpu".to_owned(),
            slides: 0,
            epochs: 3.0,
            model: None,
            write: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
            match name.as_str() {
                "--dtype" => options.dtype = serde_json::from_value(value()?.into())?,
                "--edge" => options.edge = value()?.parse()?,
                "--steps" => options.steps = value()?.parse::<usize>()?.max(1),
                "--batch" => options.batch = value()?.parse()?,
                "--passes" => options.passes = value()?.parse()?,
                "--rank" => options.rank = value()?.parse()?,
                "--of" => options.of = value()?.parse()?,
                "--port" => options.port = value()?.parse()?,
                "--answer" => options.answer = value()?.parse()?,
                "--threads" => options.threads = value()?.parse()?,
                "--isa" => {
                    options.isa = Some(Isa::named(&value()?).ok_or("--isa: plain, neon, avx2 or avx512")?);
                }
                "--integers" => options.integers = Some(integer_kernel(&value()?)?),
                "--model" => options.model = Some(value()?.into()),
                "--write" => options.write = Some(value()?.into()),
                "--device" => options.device = value()?,
                "--slides" => options.slides = value()?.parse()?,
                "--epochs" => options.epochs = value()?.parse()?,
                "--load-in-8bit" => options.load_in_8bit = true,
                "--rate" => options.rate = true,
                "--profile" => options.profile = true,
                "--without-cudnn" => options.without_cudnn = true,
                "--ckpt" => options.ckpt = true,
                "--cached" => options.cached = true,
                "--forward-only" => options.forward_only = true,
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }

    /// Whether something else than the CPU computes.
    pub(crate) fn is_gpu(&self) -> bool {
        self.device != "cpu"
    }

    /// Rows and columns of the split of a 16:9 slide, as the peer's timer counts them.
    pub(crate) fn grid(&self) -> (usize, usize) {
        let (rows, cols) = ((self.edge * 9 / 16).div_ceil(512), (self.edge / 512).max(1));
        if rows * cols > 1 { (rows, cols) } else { (0, 0) }
    }
}

/// The kernel of integers of this name, where this CPU has it.
fn integer_kernel(name: &str) -> AnyResult<IntegerKernel> {
    let available = IntegerKernel::available();
    let names: Vec<&str> = available.iter().map(|kernel| kernel.name()).collect();
    let found = available.iter().find(|kernel| kernel.name() == name);
    found.copied().ok_or_else(|| format!("--integers: {}", names.join(", ")).into())
}
