//! Whether each tree is the one below it and one layer more, by what the kernel says of the mounts.
//!
//! A builder that ran a step twice could mount the file system of the second run below what came of the
//! first: then nothing that is in both would be the same file. And what is no overlay has no layers to tell
//! apart. Docker gives each layer a name that nothing else ever has; it stands in the options of every
//! overlay that the layer is part of.

/// The names of the layers of `count` trees, mounted as `0`, `1`, .. below a folder, the lowest first. With `stand`, the
/// lowest tree may have any number of layers.
pub(crate) fn names<'a>(
    mounts: &'a str,
    folder: &str,
    stand: bool,
    count: usize,
) -> Result<Vec<&'a str>, String> {
    let mut below: Vec<&str> = Vec::new();
    for tree in 0..count {
        let path = format!("{folder}/{tree}");
        // The last mount at a path is the one that is seen.
        let line = mounts.lines().rev().find(|line| line.split(' ').nth(4) == Some(&path));
        let line = line.ok_or_else(|| format!("nothing is mounted at {path}"))?;
        let layers = layers(line).ok_or_else(|| format!("{path} is no overlay of layers: {line}"))?;
        if layers[1..] != below && !(stand && tree == 0) {
            return Err(format!("{path} is not the tree below it and one layer more: {line}"));
        }
        below = layers;
    }
    below.reverse();
    Ok(below)
}

/// The names of an overlay's lower layers, the uppermost first; they have to be all different.
fn layers(line: &str) -> Option<Vec<&str>> {
    let (_, source) = line.split_once(" - ")?;
    let options = source.strip_prefix("overlay ")?.split_once(' ')?.1;
    let lower = options.split(',').find_map(|option| option.strip_prefix("lowerdir="))?;
    // Where the list would be too long, Docker gives paths that begin elsewhere.
    let names: Vec<&str> = lower.split(':').map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    (sorted.len() == names.len() && !names.contains(&"")).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as Docker 20.10 and 28.5 give it.
    fn mount(at: &str, lower: &str) -> String {
        format!(
            "176 157 0:41 / {at} rw,relatime master:3 - overlay overlay rw,lowerdir={lower},\
             upperdir=/var/lib/docker/overlay2/b05f/diff,workdir=/var/lib/docker/overlay2/b05f/work\n"
        )
    }

    #[test]
    fn each_tree_is_the_one_below_and_a_layer_more() {
        let root = "1 0 0:30 / / rw - overlay overlay rw,lowerdir=/a/l/X,upperdir=/b,workdir=/c\n";
        let zero = mount("/trees/0", "/a/l/A");
        let one = mount("/trees/1", "/a/l/B:/a/l/A");
        let two = mount("/trees/2", "l/C:l/B:l/A");
        assert_eq!(names(&[root, &two, &zero, &one].concat(), "/trees", false, 3).unwrap(), ["A", "B", "C"]);
        assert_eq!(names(&zero, "/trees", false, 1).unwrap(), ["A"]);
        let upper = [mount("/trees/0", "l/B:l/A"), mount("/trees/1", "l/C:l/B:l/A")].concat();
        assert_eq!(names(&upper, "/trees", true, 2).unwrap(), ["A", "B", "C"]);
        assert!(names(&upper, "/trees", false, 2).unwrap_err().contains("/trees/0 is not"));

        let refused = |lines: &[&str], count, why: &str| {
            let said = names(&lines.concat(), "/trees", false, count).unwrap_err();
            assert!(said.contains(why), "{said}");
        };
        refused(&[&zero, &one], 3, "nothing is mounted at /trees/2");
        // The step ran again, and its first run is what the next one stands on.
        refused(&[&mount("/trees/0", "/a/l/Z"), &one], 2, "/trees/1 is not the tree below");
        refused(&[&zero, &mount("/trees/1", "/a/l/C:/a/l/B:/a/l/A")], 2, "/trees/1 is not the tree below");
        refused(&[&mount("/trees/0", "/a/l/B:/a/l/A")], 1, "/trees/0 is not the tree below");
        // Where names say nothing, as those of containerd's snapshots, nothing is taken for the same.
        refused(&[&zero, &mount("/trees/1", "/s/2/fs:/s/1/fs")], 2, "is no overlay of layers");
        refused(&["9 1 8:1 / /trees/0 rw - btrfs /dev/sda rw,subvol=/x\n"], 1, "is no overlay of layers");
        // Mounted over, it is what stands on top.
        let over = "9 1 8:1 / /trees/0 rw - tmpfs tmpfs rw\n";
        refused(&[&zero, over], 1, "is no overlay of layers");
    }
}
