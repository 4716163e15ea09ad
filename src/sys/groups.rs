//! The groups that another process belongs to.

/// Whether the thread `pid`, whose group for file access is `gid`, belongs to `group`. A thread that cannot be
/// looked at any more does not.
#[must_use]
pub fn is_member(pid: u32, gid: u32, group: u32) -> bool {
    gid == group || std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| lists(&status, group))
}

/// Whether the supplementary groups in the text of proc(5)'s `status` include `group`.
fn lists(status: &str, group: u32) -> bool {
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    groups.is_some_and(|groups| {
        groups
            .split_ascii_whitespace()
            .any(|listed| listed.parse() == Ok(group))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supplementary_groups_count_and_strangers_do_not() {
        let status = "Name:\tcat\nGid:\t7\t7\t7\t7\nGroups:\t4 1000 \nVmPeak:\t5 kB\n";
        assert!(lists(status, 4) && lists(status, 1000));
        assert!(!lists(status, 7) && !lists(status, 5) && !lists("Groups:\t\n", 0) && !lists("", 0));
        assert!(is_member(u32::MAX, 3, 3) && !is_member(u32::MAX, 3, 4));
        let own = rustix::process::getgroups().unwrap();
        assert!(
            own.iter()
                .all(|group| is_member(std::process::id(), u32::MAX, group.as_raw()))
        );
    }
}
