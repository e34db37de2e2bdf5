//! Set-ups of machines that people have: libraries in a Python environment, too new, too old or not whole, GPUs that are full.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{build, case, compiler, run, run_clean};

/// [`run`] or [`run_clean`].
type Runs = fn(&Path, &[&str], &[(&str, &str)]) -> String;

/// Fakes as PyTorch's wheels lay the libraries out, each a file of its own as the real ones are: the loader finds the driver
/// alone.
struct Environment {
    /// What the fakes were built in.
    fakes: TempDir,
    folder: TempDir,
}

impl Environment {
    fn new(libraries: &[(&str, &str)]) -> Self {
        let (fakes, folder) = (build(), tempfile::tempdir().expect("a temporary folder"));
        let environment = Self { fakes, folder };
        std::fs::create_dir(environment.driver()).expect("a new folder");
        let driver = environment.fakes.path().join("libcuda.so");
        std::fs::hard_link(driver, environment.driver().join("libcuda.so")).expect("on one disk");
        for (part, name) in libraries {
            environment.add(part, name);
        }
        environment
    }

    fn driver(&self) -> PathBuf {
        self.folder.path().join("driver")
    }

    fn venv(&self) -> PathBuf {
        self.folder.path().join("venv")
    }

    /// Adds a library that holds nothing and needs the fake that holds all.
    fn add(&self, part: &str, name: &str) {
        let folder = self.venv().join("lib/python3.12/site-packages/nvidia").join(part).join("lib");
        std::fs::create_dir_all(&folder).expect("a new folder");
        let source = self.folder.path().join("nothing.cpp");
        std::fs::write(&source, "").expect("the temporary folder can be written");
        let output = Command::new(compiler())
            .args(["-shared", "-fPIC", "-Wl,--no-as-needed"])
            .arg(format!("-Wl,-soname,{name}"))
            .arg("-o")
            .arg(folder.join(name))
            .arg(&source)
            .arg(self.driver().join("libcuda.so"))
            .output()
            .expect("the compiler runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn run(&self, name: &str, settings: &[(&str, &str)], runs: Runs) {
        let venv = self.venv();
        let venv = venv.to_str().expect("a path in words");
        let environment = [&[("VIRTUAL_ENV", venv)], settings].concat();
        runs(&self.driver(), &[&case(name)], &environment);
    }
}

const WHOLE: [(&str, &str); 6] = [
    ("cublas", "libcublas.so.13"),
    ("cublas", "libcublasLt.so.13"),
    ("cuda_nvrtc", "libnvrtc.so.13"),
    ("cuda_nvrtc", "libnvrtc-builtins.so.13.0"),
    ("cudnn", "libcudnn.so.9"),
    ("cudnn", "libcudnn_graph.so.9"),
];
/// The library asks for its built-in functions.
const BUILTINS: (&str, &str) = ("STANDIN_BUILTINS", "1");

#[test]
fn what_lies_in_a_python_environment_is_used() {
    let environment = Environment::new(&WHOLE);
    environment.run("libraries_of_a_python_environment_are_found", &[BUILTINS], run_clean);
    // A driver for CUDA 12 does not run them, and says what to install.
    environment.run("libraries_that_are_too_new_are_refused", &[("STANDIN_DRIVER", "12040")], run);
    // Kernels for the newest GPU that the compiler knows are translated.
    let newer = [("STANDIN_CAPABILITY", "120"), ("STANDIN_NEWEST_KNOWN", "90"), BUILTINS];
    environment.run("a_gpu_that_is_newer_than_the_compiler_is_used", &newer, run_clean);
    environment.run("a_gpu_that_others_fill_is_refused", &[("STANDIN_FULL_GPUS", "1")], run);
    let two = [("STANDIN_GPUS", "2"), ("STANDIN_FULL_GPUS", "1"), BUILTINS];
    environment.run("the_first_gpu_that_can_be_used_is_taken", &two, run);
}

#[test]
fn a_library_that_is_missing_is_named_with_its_package() {
    let environment = Environment::new(&[]);
    environment.run("a_library_is_missing", &[("WANTED", "pip install 'nvidia-cublas==13.*'")], run);
    environment.add("cublas", "libcublas.so.13");
    environment.run("a_library_is_missing", &[("WANTED", "pip install 'nvidia-cuda-nvrtc==13.*'")], run);
    environment.add("cuda_nvrtc", "libnvrtc.so.13");
    let without = [BUILTINS, ("WANTED", "pip install 'nvidia-cuda-nvrtc==13.*' repairs it")];
    environment.run("a_library_is_missing", &without, run);
}
