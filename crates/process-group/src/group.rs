use crate::{Result, Watch};

/// Processes that compute one thing together, as one of them sees them.
///
/// All of them make the same calls in the same order. A call returns once everybody has made it; where one of them is gone or has
/// [given up](Self::abort), it returns an error in all others.
pub trait ProcessGroup {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn size(&self) -> usize;

    /// What connects the processes, in a word or two for people.
    fn transport(&self) -> &'static str;

    /// The sum over all processes of each of these numbers, taken in the order of the ranks: the same processes with the same numbers get
    /// the same bits.
    ///
    /// # Errors
    /// When a process is gone, gave up, or has another count of numbers.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()>;

    /// What each process gives, in the order of the ranks.
    ///
    /// # Errors
    /// When a process is gone or gave up.
    fn all_gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// What the first process has.
    ///
    /// # Errors
    /// When a process is gone or gave up.
    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let mine = if self.rank() == 0 { std::mem::take(bytes) } else { Vec::new() };
        *bytes = self.all_gather(&mine)?.swap_remove(0);
        Ok(())
    }

    /// Waits until everybody is here.
    ///
    /// # Errors
    /// When a process is gone or gave up.
    fn barrier(&self) -> Result<()> {
        self.all_gather(&[]).map(drop)
    }

    /// Tells at any time, and to any thread, whether somebody is gone.
    fn watch(&self) -> Watch;

    /// Whether everybody is still there, without waiting.
    ///
    /// # Errors
    /// When a process is gone or gave up.
    fn check(&self) -> Result<()> {
        self.watch().lost().map_or(Ok(()), Err)
    }

    /// Tells the others why this process ends; none of their calls waits any longer.
    fn abort(&self, reason: &str);

    /// Says that this process needs nothing more of the others: that it ends is then no loss. One that is dropped without it is one.
    fn leave(&self);
}
