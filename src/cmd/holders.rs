//! Who uses a mount, as far as /proc tells this user. For messages only: it may change while one looks.

use std::fs;
use std::path::Path;

/// Names for a message; more would not be read.
const HOLDERS_MAX: usize = 5;

/// The processes that have a file or directory below `mountpoint` open, are in it, or run a program from it.
pub fn of(mountpoint: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let users = ids.filter(|id| uses(Path::new(&format!("/proc/{id}")), mountpoint));
    users
        .map(|id| format!("process {id} ({})", name(id)))
        .take(HOLDERS_MAX)
        .collect()
}

fn name(id: u32) -> String {
    fs::read_to_string(format!("/proc/{id}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn uses(process: &Path, mountpoint: &Path) -> bool {
    let below = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(mountpoint));
    if ["cwd", "root", "exe"].iter().any(|name| below(&process.join(name))) {
        return true;
    }
    let open = fs::read_dir(process.join("fd"));
    open.is_ok_and(|files| files.flatten().any(|file| below(&file.path())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_found_and_a_closed_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        assert_eq!(of(&place), Vec::<String>::new());
        let _file = fs::File::create(place.join("f")).unwrap();
        assert!(of(&place)[0].contains(&std::process::id().to_string()));
    }
}
