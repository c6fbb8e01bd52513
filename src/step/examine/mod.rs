//! Looks at the machine: what commands will need, before they need it. Changes nothing, and asks no
//! server but those that commands would ask.

mod engine;
mod machine;
mod network;
mod stores;

pub use engine::{builder, engine};
pub use machine::{cosign, disk, folder, keys, mmdebstrap};
pub use network::{authorities, proxy};
pub use stores::{Use, store};

use std::path::Path;

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_into_a_shell_is_one_word() {
        assert_eq!(quoted(Path::new("/a/b-1.2")), "/a/b-1.2");
        assert_eq!(quoted(Path::new("/a b/$(id)")), "'/a b/$(id)'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
