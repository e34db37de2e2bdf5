/// How many rows of this width make a task that is worth handing to a thread.
pub(super) fn rows_per_task(width: usize) -> usize {
    (8192 / width.max(1)).max(1)
}
