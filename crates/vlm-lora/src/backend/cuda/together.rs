//! Gradients of several processes, added up on their devices.

use process_group::ProcessGroup;

use super::buffer::{Block, Buffer};
use super::check::{fail, to_u32};
use super::device::Device;
use super::{Cuda, count, element};
use crate::Result;

impl<D: Device> Cuda<D> {
    /// Adds buffers up over all processes of a group that [gather](Device::all_gather), in the order of the ranks as every other way of
    /// theirs does: the bits are the same.
    pub(super) fn sum_in_order(
        &self,
        buffers: &mut [&mut Buffer<D>],
        group: &dyn ProcessGroup,
    ) -> Result<()> {
        let total: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        // Whoever has another number would wait for what never comes.
        let all = group.all_gather(&total.to_le_bytes())?;
        if let Some(rank) = all.iter().position(|one| *one != total.to_le_bytes()) {
            return Err(fail(format!(
                "process {rank} adds another number of values up than the {total} here"
            )));
        }
        if total == 0 {
            return Ok(());
        }
        let period = to_u32("a gradient of", total)?;
        let parts = Block::new(&self.pool, 4 * total * group.size())?;
        self.copy_each(buffers, parts.address + (4 * total * group.rank()) as u64, true)?;
        self.device().all_gather((parts.address, total), group)?;
        for rank in 1..group.size() {
            let other = element(parts.address, rank * total);
            self.each(
                "add",
                total,
                &[1_f32.into(), other, period.into(), parts.address.into(), count(total)],
            )?;
        }
        self.copy_each(buffers, parts.address, false)
    }

    /// Copies buffers side by side, or from there.
    fn copy_each(&self, buffers: &mut [&mut Buffer<D>], mut at: u64, is_out: bool) -> Result<()> {
        for buffer in buffers.iter_mut().filter(|buffer| buffer.len() > 0) {
            let bytes = 4 * buffer.len();
            if is_out {
                self.device().copy(self.numbers(buffer)?, at, bytes)?;
            } else {
                self.device().copy(at, self.overwritten(buffer)?, bytes)?;
            }
            at += bytes as u64;
        }
        Ok(())
    }
}
