//! The driver's calls without a GPU: fakes for NVIDIA's libraries, written from their documentation and built here, are
//! found in place of them by tests that run in a process of their own.

mod cases;
mod setups;

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::emulator::{ENTRY, HEADER, compiler};

const HEADERS: [(&str, &str); 3] = [
    ("state.hpp", include_str!("state.hpp")),
    ("matrix.hpp", include_str!("matrix.hpp")),
    ("graph.hpp", include_str!("graph.hpp")),
];
const SOURCES: [(&str, &str); 8] = [
    ("state.cpp", include_str!("state.cpp")),
    ("driver.cpp", include_str!("driver.cpp")),
    ("queue.cpp", include_str!("queue.cpp")),
    ("blas.cpp", include_str!("blas.cpp")),
    ("cublaslt.cpp", include_str!("cublaslt.cpp")),
    ("nvrtc.cpp", include_str!("nvrtc.cpp")),
    ("nccl.cpp", include_str!("nccl.cpp")),
    ("cudnn.cpp", include_str!("cudnn.cpp")),
];
/// One library under all names.
const NAMES: [&str; 7] = ["libcuda.so", "libcublas.so", "libnvrtc.so", LIGHT, JOINS, "libcudnn.so.9", GRAPH];
const LIGHT: &str = "libcublasLt.so";
const JOINS: &str = "libnccl.so.2";
/// The part of cuDNN without which it ends the process.
const GRAPH: &str = "libcudnn_graph.so.9";

/// What the fakes find where something is wrong.
const WRONG: [(&str, &str); 4] = [
    ("wrong_calls_are_refused", "cublasGemmEx refused with 7: an operand is not in one block"),
    ("a_write_behind_a_block_breaks_the_context", "repeat refused with 719: it wrote behind a block of"),
    ("copies_that_do_not_wait_are_found", "it races with cuMemcpyHtoDAsync in another queue"),
    ("what_is_not_given_back_is_found", "the context was released: 1 blocks were not given back"),
];

/// A folder with the libraries.
fn build() -> TempDir {
    let compiler = compiler();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let emulation = [("emulation.hpp", HEADER), ("emulation.cpp", ENTRY)];
    for (name, text) in emulation.into_iter().chain(HEADERS).chain(SOURCES) {
        std::fs::write(path(name), text).expect("the temporary folder can be written");
    }
    let output = Command::new(&compiler)
        .args(["-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-Wl,-soname,libcuda.so"])
        .arg(format!("-DFOLDER=\"{}\"", folder.path().display()))
        .arg(format!("-DCOMPILER=\"{compiler}\""))
        .arg("-o")
        .arg(path(NAMES[0]))
        .args(SOURCES.map(|(name, _)| path(name)))
        .output()
        .expect("the compiler runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in &NAMES[1..] {
        std::fs::hard_link(path(NAMES[0]), path(name)).expect("another name in the same folder");
    }
    folder
}

/// Runs tests of this binary with the fakes, and gives back what was said on stderr.
fn run(folder: &Path, tests: &[&str], environment: &[(&str, &str)]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(std::env::current_exe().expect("this binary has a path"))
            .args(["--exact", "--include-ignored", "--nocapture", "--test-threads=1"])
            .args(tests)
            .env("LD_LIBRARY_PATH", folder)
            .envs(environment.iter().copied())
            .output()
            .expect("this binary runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{tests:?} with {environment:?}\n{stdout}\n{stderr}");
    let passed = format!("test result: ok. {} passed; 0 failed; 0 ignored", tests.len());
    assert!(stdout.contains(&passed), "{tests:?}: not all were found\n{stdout}");
    stderr.into_owned()
}

/// As [`run`], where nothing may be refused, left out or left over.
fn run_clean(folder: &Path, tests: &[&str], environment: &[(&str, &str)]) -> String {
    let said = run(folder, tests, environment);
    assert!(!said.contains("fake:") && !said.contains("left out"), "{said}");
    assert!(said.contains("fake-closed: everything was given back"), "{said}");
    said
}

fn case(name: &str) -> String {
    format!("backend::cuda::tests::fake::cases::{name}")
}

#[test]
fn the_driver_runs_on_stand_ins_for_its_libraries() {
    let folder = build();
    let folder = folder.path();
    let of_the_device = [
        "backend::cuda::tests::a_real_device_agrees_with_f64",
        "backend::cuda::tests::staging::a_real_device_takes_images_beside_its_work",
        "model::tests::cuda::a_step_on_a_real_device_agrees_with_f64",
    ];
    let no_bias = "fake-closed: 0 products with a bias";
    assert!(!run_clean(folder, &of_the_device, &[]).contains(no_bias), "cuBLASLt was left out");
    for (name, environment) in [
        ("memory_that_runs_out_is_given_back_first", ("STANDIN_MEMORY", "1048576")),
        ("a_gpu_without_bf16_takes_f16", ("STANDIN_CAPABILITY", "75")),
        ("a_gpu_that_is_too_old_is_refused", ("STANDIN_CAPABILITY", "70")),
        ("kernels_are_kept", ("STANDIN_CAPABILITY", "86")),
        ("what_is_queued_is_timed", ("STANDIN_NO_BIAS", "1")),
    ] {
        run_clean(folder, &[&case(name)], &[environment]);
    }
    for (name, found) in WRONG {
        let said = run(folder, &[&case(name)], &[]);
        assert!(said.contains(found), "{name}: {said}");
    }
    // Biases without cuBLASLt, which knows no way or is missing.
    let biases = ["biases_are_added", "products_end_as_their_readers_want_them"].map(case);
    let biases = [biases[0].as_str(), &biases[1]];
    assert!(run_clean(folder, &biases, &[]).contains("fake-closed: 9 products with a bias"));
    assert!(run_clean(folder, &biases, &[("STANDIN_NO_BIAS", "1")]).contains(no_bias));
    std::fs::remove_file(folder.join(LIGHT)).expect("it was built");
    assert!(run_clean(folder, &biases, &[]).contains(no_bias));
}

fn attention(name: &str) -> String {
    format!("backend::cuda::driver::cudnn::tests::{name}")
}

#[test]
fn attention_goes_to_a_stand_in_for_cudnn() {
    let folder = build();
    let folder = folder.path();
    let good =
        ["attention_is_that_of_f64", "every_call_may_fail", "addresses_and_shapes_beyond_its_reach_are_left"]
            .map(attention);
    run_clean(folder, &good.each_ref().map(String::as_str), &[]);
    let whole = ["sequences_of_one_length_go_to_cudnn", "a_library_that_computes_wrongly_is_left_alone"]
        .map(attention);
    run_clean(folder, &whole.each_ref().map(String::as_str), &[]);
    let refused = |setting: (&str, &str), wanted: &str| {
        let what = attention("what_is_wrong_with_a_library_is_said");
        let said = run_clean(folder, &[&what], &[setting, ("WANTED", wanted)]);
        assert!(said.contains("attention by cuDNN 0 times"), "{setting:?}: {said}");
    };
    refused(
        ("STANDIN_CUDNN", "8907"),
        "is version 8.9.7, which cannot be used: `pip install nvidia-cudnn-cu13`",
    );
    refused(("STANDIN_CUDNN", "91001"), "is version 9.10.1, which cannot be used");
    refused(("STANDIN_CUDNN_CUDA", "14000"), "is of CUDA 14, and the driver runs 13");
    refused(("STANDIN_CUDNN_CUDA", "12090"), "needs cuBLASLt of CUDA 12");
    std::fs::remove_file(folder.join(GRAPH)).expect("it was built");
    refused(("STANDIN_NOTHING", ""), "lacks its part libcudnn_graph.so.9");
    std::fs::remove_file(folder.join("libcudnn.so.9")).expect("it was built");
    refused(("STANDIN_NOTHING", ""), "libcudnn is neither in the loader's path");
}

/// Runs a test in three processes that are told their places; each has a GPU of its own unless `environment` says otherwise of the second.
fn run_in_each(folders: [&Path; 3], test: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it has one").port().to_string();
    drop(listener);
    let test = format!("backend::cuda::tests::together::{test}");
    let one = |number: usize| {
        let (rank, gpu) = (number.to_string(), (number + 1).to_string());
        let place =
            [("CASE_RANK", &*rank), ("CASE_SIZE", "3"), ("CASE_PORT", &*port), ("STANDIN_GPU", &*gpu)];
        let own = if number == 1 { environment } else { &[] };
        run(folders[number], &[&test], &[&place[..], own].concat())
    };
    let one = &one;
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..folders.len()).map(|rank| scope.spawn(move || one(rank))).collect();
        started.into_iter().map(|one| one.join().expect("it passes")).collect()
    })
}

#[test]
fn gpus_of_several_processes_are_joined_by_a_stand_in_for_nccl() {
    let (whole, without) = (build(), build());
    std::fs::remove_file(without.path().join(JOINS)).expect("it was built");
    let (whole, without) = (whole.path(), without.path());
    let all = [whole; 3];
    let mut said = run_in_each(all, "gpus_of_several_processes_add_up_by_nccl", &[]);
    said.extend(run_in_each([whole, without, whole], "without_nccl_sums_go_over_the_hosts", &[]));
    said.extend(run_in_each(all, "an_nccl_that_is_too_old_is_named", &[("STANDIN_NCCL", "2304")]));
    said.extend(run_in_each(all, "processes_with_one_gpu_go_over_the_hosts", &[("STANDIN_GPU", "1")]));
    for one in &said {
        assert!(!one.contains("fake:"), "{one}");
        assert!(one.contains("fake-closed: everything was given back"), "{one}");
    }
    for one in run_in_each(all, "one_that_is_lost_ends_the_wait", &[]) {
        assert!(!one.contains("refused"), "{one}");
    }
}
