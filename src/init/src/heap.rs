//! The memory limit of the container, handed to the language runtime of the services.
//!
//! Node.js and Java size their heap by the machine, and Go does not know that there is a limit: in a
//! small container the kernel kills them before they collect garbage.

use std::ffi::{OsStr, OsString};
use std::fs::read_to_string;
use std::path::Path;

use crate::config::{Heap, HeapRuntime};
use crate::contract::Environment;

/// The kernel's word for "none" in version 1 is a huge number; no machine has this much.
const NO_LIMIT: u64 = 1 << 60;

/// Bytes that this container may use, if it is limited.
#[must_use]
pub fn limit(root: &Path) -> Option<u64> {
    let groups = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut smallest: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // The path is as the host sees it unless there is a cgroup namespace; the folders above it
        // limit as well. What does not exist in here does not limit in here.
        for folder in Path::new(path.trim_start_matches('/')).ancestors() {
            let found = read_to_string(root.join(mount).join(folder).join(file)).ok();
            let found = found.and_then(|text| text.trim().parse().ok()).filter(|bytes| *bytes < NO_LIMIT);
            smallest = smallest.into_iter().chain(found).min();
        }
    }
    smallest
}

/// The variable that limits the heap of one service of `services`, unless somebody set it already.
#[must_use]
pub fn variable(
    heap: &Heap,
    limit: u64,
    services: usize,
    environment: &Environment,
) -> Option<(OsString, OsString)> {
    let share = limit / 100 * u64::from(heap.percent) / services.max(1) as u64;
    let mebibytes = share >> 20;
    let (name, own, option) = match heap.runtime {
        HeapRuntime::Node => {
            let own = ["--max-old-space-size", "--max_old_space_size"].as_slice();
            ("NODE_OPTIONS", own, format!("--max-old-space-size={mebibytes}"))
        }
        HeapRuntime::Java => (
            "JAVA_TOOL_OPTIONS",
            ["-Xmx", "-XX:MaxRAM", "-XX:MaxHeapSize"].as_slice(),
            format!("-Xmx{mebibytes}m"),
        ),
        HeapRuntime::Go => ("GOMEMLIMIT", [""].as_slice(), format!("{mebibytes}MiB")),
    };
    let before = environment.get(OsStr::new(name)).filter(|value| !value.is_empty());
    let value = match before {
        // Also what is not text: it may hold the option, and cannot be searched.
        Some(value) if value.to_str().is_none_or(|text| own.iter().any(|own| text.contains(own))) => {
            return None;
        }
        Some(value) => {
            let mut longer = value.clone();
            longer.push(" ");
            longer.push(option);
            longer
        }
        None => option.into(),
    };
    // A heap of nothing is no heap: better the runtime's own choice.
    (mebibytes > 0).then(|| (name.into(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn node(services: usize, options: Option<&str>) -> Option<String> {
        let heap = Heap { runtime: HeapRuntime::Node, percent: 75, memory: None };
        let environment = options.iter().map(|value| ("NODE_OPTIONS".into(), value.into())).collect();
        variable(&heap, 4 * GIB, services, &environment).map(|(_, value)| value.into_string().unwrap())
    }

    #[test]
    fn the_share_is_divided_and_never_replaces_a_choice() {
        assert_eq!(node(1, None).as_deref(), Some("--max-old-space-size=3071"));
        assert_eq!(node(2, None).as_deref(), Some("--max-old-space-size=1535"));
        assert_eq!(node(2, Some("")).as_deref(), Some("--max-old-space-size=1535"));
        assert_eq!(
            node(2, Some("--enable-source-maps")).as_deref(),
            Some("--enable-source-maps --max-old-space-size=1535")
        );
        assert_eq!(node(2, Some("--max-old-space-size=100")), None);
        assert_eq!(node(2, Some("--max_old_space_size=100")), None);
        let go = Heap { runtime: HeapRuntime::Go, percent: 90, memory: None };
        assert_eq!(
            variable(&go, GIB, 1, &Environment::new()).unwrap(),
            ("GOMEMLIMIT".into(), "921MiB".into())
        );
        assert_eq!(variable(&go, GIB, 1, &[("GOMEMLIMIT".into(), "1GiB".into())].into()), None);
        let java = Heap { runtime: HeapRuntime::Java, percent: 50, memory: None };
        assert_eq!(
            variable(&java, GIB, 1, &[("JAVA_TOOL_OPTIONS".into(), "-XX:MaxRAMPercentage=9".into())].into()),
            None
        );
        assert_eq!(variable(&java, GIB, 1, &Environment::new()).unwrap().1, "-Xmx511m");
    }

    fn machine(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("imgforge-init-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_smallest_limit_of_either_version_counts() {
        let two = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "1073741824\n")];
        assert_eq!(limit(&machine("v2", &two)), Some(GIB));
        let none = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")];
        assert_eq!(limit(&machine("v2-none", &none)), None);
        let above = [
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "1073741824\n"),
        ];
        assert_eq!(limit(&machine("v2-above", &above)), Some(GIB));
        let one = [
            ("proc/self/cgroup", "9:cpu,cpuacct:/docker/x\n8:memory:/docker/x\n0::/system.slice\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
        ];
        assert_eq!(limit(&machine("v1", &one)), Some(GIB / 2));
        let none = [
            ("proc/self/cgroup", "8:memory:/docker/x\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit(&machine("v1-none", &none)), None);
        assert_eq!(limit(Path::new("/nonexistent")), None);
    }
}
