//! Requirements with hashes, and the wheels that fit.

use crate::model::digest::Digest;
use crate::model::name::Platform;

/// One package that is pinned to a version and its files' digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Its name, in the one spelling that indexes use.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digests of its files, on any platform.
    pub digests: Vec<Digest>,
    /// Whether it is needed only where a marker holds.
    pub conditional: bool,
    /// The requirement as pip reads it, in one line.
    pub line: String,
}

/// What a requirements file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// The index to ask.
    pub index: String,
    /// The packages.
    pub packages: Vec<Requirement>,
}

const INDEX: &str = "https://pypi.org/simple";

/// Reads a requirements file in which everything is pinned. What else pip would do at an option's
/// word is refused: it could come from elsewhere.
pub fn requirements(text: &[u8]) -> Result<Requirements, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let joined = text.replace("\r\n", "\n").replace("\\\n", " ");
    let mut found = Requirements { index: INDEX.to_owned(), packages: Vec::new() };
    for line in joined.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('-') {
            let mut words = line.split(['=', ' ']).filter(|word| !word.is_empty());
            match (words.next(), words.next()) {
                (Some("-i" | "--index-url"), Some(url)) => {
                    url.trim_end_matches('/').clone_into(&mut found.index);
                }
                (Some("--require-hashes" | "--only-binary"), _) => {}
                _ => return Err(format!("the option `{line}` cannot be pinned")),
            }
            continue;
        }
        found.packages.push(requirement(line)?);
    }
    Ok(found)
}

fn requirement(line: &str) -> Result<Requirement, String> {
    let mut hashes = line.split("--hash=").map(str::trim);
    let asked = hashes.next().unwrap_or_default();
    let (pinned, marker) =
        asked.split_once(';').map_or((asked, None), |(pinned, marker)| (pinned, Some(marker)));
    let (name, version) =
        pinned.split_once("==").ok_or_else(|| format!("`{asked}` is not pinned with `==`"))?;
    let name = name.split('[').next().unwrap_or_default();
    let digests: Vec<Digest> = hashes.filter_map(|hash| hash.parse().ok()).collect();
    if digests.is_empty() {
        return Err(format!("`{asked}` has no `--hash=sha256:..`"));
    }
    Ok(Requirement {
        name: normal(name),
        version: version.trim().to_owned(),
        digests,
        conditional: marker.is_some(),
        line: line.to_owned(),
    })
}

impl Requirements {
    /// The same packages without options: where they come from is not the file's to say.
    #[must_use]
    pub fn plain(&self) -> Vec<u8> {
        self.packages.iter().flat_map(|one| [one.line.as_str(), "\n"]).collect::<String>().into_bytes()
    }
}

/// `Foo._Bar` and `foo-bar` are one package (PEP 503).
fn normal(name: &str) -> String {
    let words = name.trim().split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// The files of an index page (PEP 503): address and digest of each that says its SHA-256.
#[must_use]
pub fn links(page: &str) -> Vec<(String, Digest)> {
    let hrefs = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let link = |href: &str| {
        let (url, fragment) = href.split_once('#')?;
        let digest = Digest::from_hex(fragment.strip_prefix("sha256=")?).ok()?;
        Some((url.replace("&amp;", "&"), digest))
    };
    hrefs.filter_map(link).collect()
}

/// The minor version of Python 3 that Debian packages install.
#[must_use]
pub fn python(packages: &[(&str, &str)]) -> Option<u32> {
    let (_, version) = packages.iter().rev().find(|(name, _)| *name == "python3-minimal")?;
    version.split('.').nth(1)?.parse().ok()
}

/// Whether a wheel can be installed: `name-version(-build)?-python-abi-platform.whl` (PEP 427).
/// Without a known Python, every version of it will do.
#[must_use]
pub fn fits(file: &str, platform: &Platform, python: Option<u32>) -> bool {
    let Some(stem) = file.strip_suffix(".whl") else { return false };
    let mut tags = stem.rsplit('-');
    let (Some(platforms), Some(abis), Some(pythons)) = (tags.next(), tags.next(), tags.next()) else {
        return false;
    };
    let machine = if platform.architecture == "amd64" { "x86_64" } else { "aarch64" };
    let here = platforms.split('.').any(|tag| {
        tag == "any" || ((tag.starts_with("manylinux") || tag.starts_with("linux")) && tag.ends_with(machine))
    });
    let number = |tag: &str, kind: &str| tag.strip_prefix(kind)?.strip_prefix('3')?.parse::<u32>().ok();
    let runs = pythons.split('.').any(|tag| {
        if tag == "py3" {
            return true;
        }
        let Some(minor) = number(tag, "cp").or_else(|| number(tag, "py")) else { return false };
        abis.split('.').any(|abi| match (abi, python) {
            ("abi3", Some(python)) => minor <= python,
            ("none", Some(python)) => {
                if tag.starts_with("py") {
                    minor <= python
                } else {
                    minor == python
                }
            }
            (abi, Some(python)) => minor == python && number(abi, "cp") == Some(python),
            (abi, None) => ["abi3", "none"].contains(&abi) || number(abi, "cp") == Some(minor),
        })
    });
    here && runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_pinned_or_refused() {
        let sum = Digest::of(b"x");
        let text = format!(
            "# by pip-compile\n--index-url https://mirror/simple/\nFoo.Bar[x]==1.0 ; python_version < '4' \\\n    --hash={sum} \\\n    --hash={sum}\n    # via y\n"
        );
        let read = requirements(text.as_bytes()).unwrap();
        assert_eq!(read.index, "https://mirror/simple");
        let [one] = &read.packages[..] else { panic!("one package") };
        assert_eq!(
            (&*one.name, &*one.version, one.digests.len(), one.conditional),
            ("foo-bar", "1.0", 2, true)
        );
        assert!(!String::from_utf8(read.plain()).unwrap().contains("mirror"));
        let refusal = |text: &str| requirements(text.as_bytes()).unwrap_err();
        insta::assert_snapshot!(refusal("foo"), @"`foo` is not pinned with `==`");
        insta::assert_snapshot!(refusal("foo==1"), @"`foo==1` has no `--hash=sha256:..`");
        insta::assert_snapshot!(refusal("-r other.txt"), @"the option `-r other.txt` cannot be pinned");
        insta::assert_snapshot!(refusal("--extra-index-url https://x"), @"the option `--extra-index-url https://x` cannot be pinned");
    }

    #[test]
    fn an_index_page_lists_files() {
        let sum = Digest::of(b"x");
        let page =
            format!("<a href=\"../a-1-py3-none-any.whl#sha256={}\">a</a> <a href=\"b.whl\">b</a>", sum.hex());
        assert_eq!(links(&page), [("../a-1-py3-none-any.whl".to_owned(), sum)]);
        assert_eq!(python(&[("python3-minimal", "3.11.2-1"), ("python3-minimal", "3.13.5-1")]), Some(13));
    }

    #[test]
    fn wheels_fit_a_platform_and_a_python() {
        let amd: Platform = "linux/amd64".parse().unwrap();
        let fits = |file: &str| super::fits(file, &amd, Some(13));
        for file in [
            "six-1.17.0-py2.py3-none-any.whl",
            "x-1-cp313-cp313-manylinux_2_28_x86_64.whl",
            "x-1-1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "x-1-py3-none-manylinux2014_x86_64.whl",
        ] {
            assert!(fits(file), "{file}");
        }
        for file in [
            "x-1.tar.gz",
            "x-1-cp312-cp312-manylinux_2_28_x86_64.whl",
            "x-1-cp313-cp313t-manylinux_2_28_x86_64.whl",
            "x-1-cp314-abi3-manylinux_2_28_x86_64.whl",
            "x-1-cp313-cp313-musllinux_1_2_x86_64.whl",
            "x-1-cp313-cp313-manylinux_2_28_aarch64.whl",
            "x-1-py2-none-any.whl",
            "x-1-py3-none-win_amd64.whl",
        ] {
            assert!(!fits(file), "{file}");
        }
        assert!(super::fits("x-1-cp312-cp312-manylinux_2_28_x86_64.whl", &amd, None));
    }
}
