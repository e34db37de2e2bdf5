mod cached;
mod fixture;
mod gradients;
mod structure;
