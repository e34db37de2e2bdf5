mod cached;
#[cfg(feature = "cuda")]
mod cuda;
mod fixture;
mod gradients;
mod structure;
