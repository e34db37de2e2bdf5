//! The memory of the machine.

/// The bytes that the system says a line of its table has; `None` where there is no such table.
fn line(name: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
}

/// Bytes of memory that a new process can have without swapping, where the system says.
pub fn available_bytes() -> Option<usize> {
    line("MemAvailable")
}

/// Bytes of memory that the machine has, where the system says.
pub fn total_bytes() -> Option<usize> {
    line("MemTotal")
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn available_memory_is_part_of_all() {
        let (available, total) = (super::available_bytes().unwrap(), super::total_bytes().unwrap());
        assert!(available <= total && total > 1 << 26, "{available} of {total}");
        assert!(super::line("NoSuchLine").is_none());
    }
}
