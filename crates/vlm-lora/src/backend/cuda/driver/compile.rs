//! The kernels for one GPU, by NVRTC, and where they are kept.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use cudarc::nvrtc::{result as nvrtc, sys};
use sha2::{Digest as _, Sha256};

use super::{LIBRARIES, failed};
use crate::backend::cuda::check::fail;
use crate::{Result, files};

/// What is compiled, for which GPU.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program<'a> {
    pub(super) source: &'a str,
    /// Compute capability.
    pub(super) capability: (i32, i32),
    /// `PRECISION` in the source.
    pub(super) precision: u8,
}

impl Program<'_> {
    fn options(&self) -> Vec<String> {
        let (major, minor) = self.capability;
        vec![
            format!("--gpu-architecture=sm_{major}{minor}"),
            "--std=c++17".to_owned(),
            format!("-DPRECISION={}", self.precision),
        ]
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

    /// Machine code for the GPU.
    ///
    /// # Errors
    /// Where NVRTC is missing or does not know the GPU.
    pub(super) fn compile(&self) -> Result<Vec<u8>> {
        // SAFETY: opens and closes a library that is installed for being opened.
        if !unsafe { sys::is_culib_present() } {
            return Err(fail(format!("libnvrtc is not found: {LIBRARIES}")));
        }
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
        let mut size = 0;
        // SAFETY: as above; `size` is where the result goes.
        unsafe { sys::nvrtcGetCUBINSize(program, &raw mut size) }
            .result()
            .map_err(|error| failed("the compiler gives no machine code", error))?;
        let mut image = vec![0_u8; size];
        // SAFETY: as above; the buffer has the size that was asked for.
        unsafe { sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()) }
            .result()
            .map_err(|error| failed("the compiler gives no machine code", error))?;
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::SOURCE;

    #[test]
    #[ignore = "needs NVRTC, which .ci/check-cuda fetches"]
    fn every_gpu_gets_its_kernels() {
        // SAFETY: as in `compile`.
        assert!(unsafe { sys::is_culib_present() }, "there is no libnvrtc to compile the kernels with");
        for (capability, precisions) in
            [((7, 5), &[0, 1][..]), ((8, 0), &[2]), ((8, 6), &[2]), ((8, 9), &[2]), ((9, 0), &[0, 1, 2])]
        {
            for &precision in precisions {
                let image = Program { source: SOURCE, capability, precision }.compile().unwrap();
                assert!(image.starts_with(b"\x7fELF"), "sm_{capability:?}, precision {precision}");
            }
        }
    }

    #[test]
    fn a_kept_image_is_found_again_unless_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let program = Program { source: "void f() {}", capability: (8, 0), precision: 2 };
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
