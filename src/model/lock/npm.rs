//! `package-lock.json`: what `npm ci --omit=dev` downloads, and where npm's cache has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::model::name::Platform;

/// A package of the registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needed {
    /// Its name, with its scope.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its tarball.
    pub url: String,
    /// `sha512-<base64>`
    pub integrity: String,
}

/// Where packages come from that do not say otherwise.
pub(super) const REGISTRY: &str = "https://registry.npmjs.org";

/// Where npm's cache keeps a file: it looks there by content alone, no index is needed.
#[must_use]
pub fn content_path(integrity: &str) -> Option<String> {
    let bytes = STANDARD.decode(integrity.strip_prefix("sha512-")?).ok().filter(|bytes| bytes.len() == 64)?;
    let hex = hex::encode(bytes);
    Some(format!("_cacache/content-v2/sha512/{}/{}/{}", &hex[..2], &hex[2..4], &hex[4..]))
}

/// What npm calls bytes with this SHA-512.
#[must_use]
pub fn integrity(sha512: &[u8]) -> String {
    format!("sha512-{}", STANDARD.encode(sha512))
}

/// What is downloaded, each file once.
pub fn needed(lock: &[u8], platform: &Platform) -> Result<Vec<Needed>, String> {
    let lock = read(lock)?;
    let mut found = Vec::new();
    for (path, package) in packages(&lock)? {
        let Some(name) = downloaded(path, package).filter(|_| wanted(package, platform)) else { continue };
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        let version = text("version").ok_or_else(|| format!("`{path}` has no version"))?;
        let url = text("resolved").map_or_else(|| tarball(name, version), str::to_owned);
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(format!(
                "`{path}` comes from `{url}`, and only packages of a registry can be pinned"
            ));
        }
        let hashes = text("integrity").unwrap_or_default();
        let integrity = hashes.split_whitespace().find(|hash| content_path(hash).is_some());
        let integrity = integrity.ok_or_else(|| format!("`{path}` has no `sha512-` integrity"))?;
        found.push(Needed {
            name: name.to_owned(),
            version: version.to_owned(),
            url,
            integrity: integrity.to_owned(),
        });
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The same lock, in which every package says where it comes from: npm asks the registry otherwise.
pub fn completed(lock: &[u8]) -> Result<Vec<u8>, String> {
    let mut lock = read(lock)?;
    let Some(packages) = lock.get_mut("packages").and_then(Value::as_object_mut) else {
        return Err(NO_PACKAGES.to_owned());
    };
    for (path, package) in packages {
        let Some(package) = package.as_object_mut() else { continue };
        let Some(name) = downloaded(path, package).map(str::to_owned) else { continue };
        let version = package.get("version").and_then(Value::as_str).unwrap_or_default().to_owned();
        package.entry("resolved").or_insert_with(|| tarball(&name, &version).into());
    }
    serde_json::to_vec_pretty(&lock).map_err(|error| error.to_string())
}

const NO_PACKAGES: &str = "it has no `packages`: write it again with npm 7 or later";

fn read(lock: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(lock).map_err(|error| error.to_string())
}

fn packages(lock: &Value) -> Result<impl Iterator<Item = (&str, &Map<String, Value>)>, String> {
    let packages = lock.get("packages").and_then(Value::as_object).ok_or(NO_PACKAGES)?;
    Ok(packages.iter().filter_map(|(path, package)| Some((path.as_str(), package.as_object()?))))
}

/// The name of a package that is neither the project, nor a part of it, nor shipped inside another.
fn downloaded<'a>(path: &'a str, package: &'a Map<String, Value>) -> Option<&'a str> {
    let is = |key: &str| package.get(key) == Some(&Value::Bool(true));
    let (_, name) = path.rsplit_once("node_modules/")?;
    let local = package.get("resolved").and_then(Value::as_str).is_some_and(|url| url.starts_with("file:"));
    if is("link") || is("inBundle") || local {
        return None;
    }
    Some(package.get("name").and_then(Value::as_str).unwrap_or(name))
}

/// Whether npm installs it here: not for development, and for this platform.
fn wanted(package: &Map<String, Value>, platform: &Platform) -> bool {
    let is = |key: &str| package.get(key) == Some(&Value::Bool(true));
    let list = |key: &str| -> Vec<&str> {
        package.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let fits = || allows(&list("os"), &platform.os) && allows(&list("cpu"), cpu(platform));
    !is("dev") && (!is("optional") || fits())
}

/// Whether a list of systems or processors, which names those that are meant or, with `!`, those that are
/// not, has this one.
pub(super) fn allows(list: &[&str], value: &str) -> bool {
    let denied = list.iter().any(|name| name.strip_prefix('!') == Some(value));
    let listed = list.iter().any(|name| *name == value || *name == "any");
    !denied && (listed || list.iter().all(|name| name.starts_with('!')))
}

/// What Node calls a platform's processor.
pub(super) fn cpu(platform: &Platform) -> &str {
    if platform.architecture == "amd64" { "x64" } else { &platform.architecture }
}

/// Where the registry has a package.
pub(super) fn tarball(name: &str, version: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    format!("{REGISTRY}/{name}/-/{file}-{version}.tgz")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(packages: &Value) -> Result<Vec<String>, String> {
        let lock = serde_json::json!({"lockfileVersion": 3, "packages": packages}).to_string();
        let found = needed(lock.as_bytes(), &"linux/amd64".parse().unwrap())?;
        Ok(found.into_iter().map(|one| one.url).collect())
    }

    #[test]
    fn only_what_is_installed_here_is_downloaded() {
        let hash = integrity(&[7; 64]);
        let package = |more: Value| {
            let mut package = serde_json::json!({"version": "1.0.0", "integrity": hash});
            package.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            package
        };
        let packages = serde_json::json!({
            "": {"name": "project", "version": "1.0.0"},
            "packages/part": {"name": "part", "version": "1.0.0"},
            "node_modules/part": {"resolved": "packages/part", "link": true},
            "node_modules/@scope/a": package(serde_json::json!({})),
            "node_modules/@scope/a/node_modules/b": package(serde_json::json!({"resolved": "https://mirror/b.tgz"})),
            "node_modules/alias": package(serde_json::json!({"name": "real"})),
            "node_modules/dev": package(serde_json::json!({"dev": true})),
            "node_modules/inside": package(serde_json::json!({"inBundle": true})),
            "node_modules/windows": package(serde_json::json!({"optional": true, "os": ["win32"]})),
            "node_modules/not-linux": package(serde_json::json!({"optional": true, "os": ["!linux"]})),
            "node_modules/arm": package(serde_json::json!({"optional": true, "cpu": ["arm64"]})),
            "node_modules/here": package(serde_json::json!({"optional": true, "os": ["linux"], "cpu": ["x64"]})),
        });
        let base = "https://registry.npmjs.org";
        let expected = [
            format!("{base}/@scope/a/-/a-1.0.0.tgz"),
            "https://mirror/b.tgz".to_owned(),
            format!("{base}/here/-/here-1.0.0.tgz"),
            format!("{base}/real/-/real-1.0.0.tgz"),
        ];
        assert_eq!(names(&packages).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_pinned_is_refused() {
        let refusal = |package: Value| names(&serde_json::json!({"node_modules/x": package})).unwrap_err();
        insta::assert_snapshot!(refusal(serde_json::json!({"version": "1.0.0"})), @"`node_modules/x` has no `sha512-` integrity");
        insta::assert_snapshot!(refusal(serde_json::json!({"version": "1.0.0", "integrity": "sha1-aaaa"})), @"`node_modules/x` has no `sha512-` integrity");
        insta::assert_snapshot!(refusal(serde_json::json!({"version": "1.0.0", "resolved": "git+ssh://x/y"})), @"`node_modules/x` comes from `git+ssh://x/y`, and only packages of a registry can be pinned");
    }

    #[test]
    fn the_completed_lock_says_where_everything_comes_from() {
        let lock = br#"{"packages":{"":{"name":"p"},"node_modules/a":{"version":"2.0.0"}}}"#;
        let lock: Value = serde_json::from_slice(&completed(lock).unwrap()).unwrap();
        assert_eq!(
            lock["packages"]["node_modules/a"]["resolved"],
            "https://registry.npmjs.org/a/-/a-2.0.0.tgz"
        );
        assert!(lock["packages"][""].get("resolved").is_none());
    }

    #[test]
    fn the_cache_has_content_by_its_digest() {
        let path = content_path(&integrity(&[0xab; 64])).unwrap();
        assert!(path.starts_with("_cacache/content-v2/sha512/ab/ab/abab"), "{path}");
        assert_eq!(content_path("sha512-YQ=="), None);
    }
}
