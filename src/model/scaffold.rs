//! A project that builds at once: what `imgforge init` writes.

use super::name::{Platform, ProjectName};

/// A file of a new project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where, below the project's folder.
    pub path: String,
    /// What.
    pub text: String,
}

/// Each file, in the order in which a person would read them. `{project}` in a path or a text stands for
/// the name, `{architecture}` for this machine's.
const FILES: [(&str, &str); 9] = [
    ("imgforge.toml", include_str!("scaffold/imgforge.toml")),
    ("recipes/{project}/project.toml", include_str!("scaffold/project.toml")),
    ("recipes/{project}/base.toml", include_str!("scaffold/base.toml")),
    ("recipes/{project}/app.toml", include_str!("scaffold/app.toml")),
    ("recipes/{project}/app/serve.pl", include_str!("scaffold/serve.pl")),
    ("keys/README.md", include_str!("scaffold/keys.md")),
    (IGNORE, include_str!("scaffold/gitignore")),
    (".github/workflows/images.yml", include_str!("scaffold/ci.yml")),
    ("recipes/{project}/app/.dockerignore", "*\n!serve.pl\n"),
];

/// What git does not look at.
pub const IGNORE: &str = ".gitignore";

/// The line of [`IGNORE`] that keeps private keys out of a repository.
pub const PRIVATE_KEYS: &str = "/keys/*.key";

/// The files of a project.
#[must_use]
pub fn files(project: &ProjectName, platform: &Platform) -> Vec<File> {
    let platform = platform.to_string();
    let architecture = platform.split_once('/').map_or("amd64", |(_, architecture)| architecture);
    let fill =
        |text: &str| text.replace("{project}", project.as_str()).replace("{architecture}", architecture);
    FILES.iter().map(|(path, text)| File { path: fill(path), text: fill(text) }).collect()
}

/// A project's name made of a folder's: `My Node!` becomes `my-node`.
#[must_use]
pub fn name(folder: &str) -> Option<ProjectName> {
    let plain: String =
        folder.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-").trim_start_matches(|c: char| !c.is_ascii_lowercase()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_names_a_project() {
        let name = |folder: &str| name(folder).map(|name| name.to_string());
        assert_eq!(name("My Node!").as_deref(), Some("my-node"));
        assert_eq!(name("oracle").as_deref(), Some("oracle"));
        assert_eq!(name("3 more nodes").as_deref(), Some("more-nodes"));
        assert_eq!(name("___"), None);
    }

    #[test]
    fn every_word_is_filled_in() {
        let files = files(&"p".parse().unwrap(), &"linux/arm64".parse().unwrap());
        assert!(files.iter().all(|file| !file.path.contains('{') && !file.text.contains("{project}")));
        assert!(files.iter().any(|file| file.text.contains("linux/arm64")));
        assert!(files.iter().any(|file| file.path == IGNORE && file.text.contains(PRIVATE_KEYS)));
    }
}
