//! The kernels for one GPU, by NVRTC, and where they are kept.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use cudarc::nvrtc::{result as nvrtc, sys};
use sha2::{Digest as _, Sha256};

use super::failed;
use crate::backend::cuda::check::fail;
use crate::{Result, files};

/// What the kernels become; a number is a compute capability, 90 for 9.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Machine code.
    Machine(i32),
    /// An intermediate language that the driver translates for its GPU.
    Ptx(i32),
}

impl Target {
    /// What the open NVRTC can make for a GPU.
    ///
    /// # Errors
    /// Where it serves none that is so old.
    pub(super) fn of(capability: i32) -> Result<Self> {
        let known = architectures();
        Self::among(capability, &known).ok_or_else(|| {
            let known: Vec<String> = known.iter().map(ToString::to_string).collect();
            let (major, minor) = (capability / 10, capability % 10);
            fail(format!(
                "this NVRTC compiles for compute capabilities {} and the GPU has {major}.{minor}: an older one is needed",
                known.join(", ")
            ))
        })
    }

    /// Machine code runs on GPUs of the same generation that are not older, PTX on all that are not older. An NVRTC that names
    /// none is older than that call and knows all GPUs of its time.
    fn among(capability: i32, known: &[i32]) -> Option<Self> {
        if known.is_empty() {
            return Some(Self::Machine(capability));
        }
        let newest = known.iter().copied().filter(|&known| known <= capability).max()?;
        Some(if newest / 10 == capability / 10 { Self::Machine(newest) } else { Self::Ptx(newest) })
    }

    fn option(self) -> String {
        match self {
            Self::Machine(capability) => format!("--gpu-architecture=sm_{capability}"),
            Self::Ptx(capability) => format!("--gpu-architecture=compute_{capability}"),
        }
    }
}

/// The compute capabilities that the open NVRTC compiles for.
fn architectures() -> Vec<i32> {
    let mut count = 0;
    // SAFETY: the number lives.
    let counted = unsafe { sys::nvrtcGetNumSupportedArchs(&raw mut count) }.result();
    let Ok(count) = counted.map(|()| usize::try_from(count).unwrap_or(0)) else { return Vec::new() };
    let mut known = vec![0; count];
    // SAFETY: there is room for as many as were counted.
    let listed = unsafe { sys::nvrtcGetSupportedArchs(known.as_mut_ptr()) }.result();
    if listed.is_ok() { known } else { Vec::new() }
}

/// What is compiled, for which GPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program<'a> {
    pub(super) source: &'a str,
    pub(super) target: Target,
    /// `PRECISION` in the source.
    pub(super) precision: u8,
}

impl Program<'_> {
    fn options(&self) -> Vec<String> {
        vec![self.target.option(), "--std=c++17".to_owned(), format!("-DPRECISION={}", self.precision)]
    }

    /// A file that another source, another GPU or other options never share.
    fn path(&self, folder: &Path) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(self.source);
        hash.update(self.options().join(" "));
        let name =
            hash.finalize().iter().take(16).fold(String::new(), |name, byte| format!("{name}{byte:02x}"));
        folder.join(name).with_extension("cubin")
    }

    /// What was kept, where that looks whole.
    pub(super) fn cached(&self, folder: &Path) -> Option<Vec<u8>> {
        let bytes = std::fs::read(self.path(folder)).ok()?;
        let (image, hash) = bytes.split_last_chunk::<32>()?;
        (Sha256::digest(image).as_slice() == hash).then(|| image.to_vec())
    }

    /// Keeps an image with its hash behind it; a folder that cannot be written only costs the time at the next start.
    pub(super) fn keep(&self, folder: &Path, image: &[u8]) {
        let bytes = [image, Sha256::digest(image).as_slice()].concat();
        if std::fs::create_dir_all(folder).is_ok() {
            let _ = files::write_atomic(&self.path(folder), &bytes);
        }
    }

    /// Machine code, or PTX with a zero behind it, by the open NVRTC.
    ///
    /// # Errors
    /// Where it does not know the target.
    pub(super) fn compile(&self) -> Result<Vec<u8>> {
        let source = CString::new(self.source).map_err(|error| failed("the kernels' source", error))?;
        let program = nvrtc::create_program(&source, Some(c"kernels.cu"))
            .map_err(|error| failed("the kernels cannot be compiled", error))?;
        let image = self.image(program);
        // SAFETY: the program was created above and is not used any more. An error has nobody to go to.
        let _ = unsafe { nvrtc::destroy_program(program) };
        image
    }

    fn image(&self, program: sys::nvrtcProgram) -> Result<Vec<u8>> {
        // SAFETY: the program is alive, here and below.
        if let Err(error) = unsafe { nvrtc::compile_program(program, &self.options()) } {
            // SAFETY: as above; the log ends with a zero.
            let log = unsafe { nvrtc::get_program_log(program) }
                .map(|log| {
                    let bytes: Vec<u8> = log.into_iter().flat_map(std::ffi::c_char::to_ne_bytes).collect();
                    let text = CStr::from_bytes_until_nul(&bytes).map(CStr::to_string_lossy);
                    text.map(std::borrow::Cow::into_owned).unwrap_or_default()
                })
                .unwrap_or_default();
            return Err(fail(format!("the kernels cannot be compiled ({error}): {log}")));
        }
        let no_code = |error| failed("the compiler gives no code", error);
        let mut size = 0;
        // SAFETY: as above; `size` is where the result goes.
        unsafe {
            match self.target {
                Target::Machine(_) => sys::nvrtcGetCUBINSize(program, &raw mut size),
                Target::Ptx(_) => sys::nvrtcGetPTXSize(program, &raw mut size),
            }
        }
        .result()
        .map_err(no_code)?;
        let mut image = vec![0_u8; size];
        // SAFETY: as above; the buffer has the size that was asked for.
        unsafe {
            match self.target {
                Target::Machine(_) => sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()),
                Target::Ptx(_) => sys::nvrtcGetPTX(program, image.as_mut_ptr().cast()),
            }
        }
        .result()
        .map_err(no_code)?;
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::SOURCE;
    use crate::backend::cuda::driver::libraries::{self, Name};

    /// Where `IMAGES_TO` names a folder, the images are written there, for those who count instructions and registers.
    #[test]
    #[ignore = "needs NVRTC, which .ci/check-cuda fetches"]
    fn every_gpu_gets_its_kernels() {
        libraries::open(Name::Nvrtc, &[], i32::MAX).unwrap();
        let folder = std::env::var_os("IMAGES_TO").map(PathBuf::from);
        let machine = [
            (75, &[0, 1][..]),
            (80, &[2]),
            (86, &[2]),
            (89, &[2]),
            (90, &[0, 1, 2]),
            (100, &[2]),
            (120, &[2]),
        ];
        let ptx = [(75, &[1][..]), (90, &[2])];
        let targets = machine
            .map(|(capability, precisions)| (Target::Machine(capability), precisions))
            .into_iter()
            .chain(ptx.map(|(capability, precisions)| (Target::Ptx(capability), precisions)));
        let known = architectures();
        for (target, precisions) in targets {
            if matches!(target, Target::Machine(capability) if !known.contains(&capability)) {
                eprintln!("left out: this NVRTC does not know {target:?}");
                continue;
            }
            for &precision in precisions {
                let image = Program { source: SOURCE, target, precision }.compile().unwrap();
                let is_machine_code = matches!(target, Target::Machine(_));
                assert_eq!(
                    image.starts_with(b"\x7fELF"),
                    is_machine_code,
                    "{target:?}, precision {precision}"
                );
                assert!(is_machine_code || image.ends_with(b"\0"), "{target:?}");
                if let Some(folder) = &folder {
                    std::fs::write(folder.join(format!("{target:?}-{precision}.image")), image).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_gpu_that_is_newer_than_nvrtc_gets_ptx_unless_its_generation_is_known() {
        let known = [75, 80, 86, 90];
        let of = |capability: i32| Target::among(capability, &known);
        assert_eq!(of(86), Some(Target::Machine(86)));
        assert_eq!(of(89), Some(Target::Machine(86)));
        assert_eq!(of(120), Some(Target::Ptx(90)));
        assert_eq!(of(70), None);
        assert_eq!(Target::among(90, &[]), Some(Target::Machine(90)));
    }

    #[test]
    fn a_kept_image_is_found_again_unless_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program { source: "void f() {}", target: Target::Machine(80), precision: 2 };
        assert!(program.cached(folder.path()).is_none());
        program.keep(folder.path(), b"image");
        assert_eq!(program.cached(folder.path()).unwrap(), b"image");
        assert!(Program { precision: 1, ..program }.cached(folder.path()).is_none());
        let path = program.path(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(program.cached(folder.path()).is_none());
    }
}
