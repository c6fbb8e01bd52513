//! `pnpm-lock.yaml`: what `pnpm install --prod` downloads, and how it gets it without a network.
//!
//! pnpm has no cache that could be filled by content alone, and refuses a lock file whose packages come
//! from files. So it is given a registry: [`SERVER`], run by the Node that runs pnpm itself, gives the
//! pinned tarballs at an address that only the step can reach. The lock file stays as it is, and pnpm
//! checks every tarball against it.

use std::collections::{BTreeMap, BTreeSet};

use saphyr::{LoadableYamlNode as _, Yaml};

use super::Item;
use super::npm::{self, Needed, allows, content_path, cpu, tarball};
use crate::model::name::Platform;

/// The file of [`server`], beside the tarballs.
pub const SERVER: &str = "registry.mjs";

/// What is downloaded, each file once.
pub fn needed(lock: &[u8], platform: &Platform) -> Result<Vec<Needed>, String> {
    let text = std::str::from_utf8(lock).map_err(|error| error.to_string())?;
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    let [lock] = &documents[..] else { return Err("it is not one YAML document".to_owned()) };
    let version = text_at(lock, "lockfileVersion").unwrap_or_default();
    if version != "9.0" {
        return Err(format!("it has the version `{version}`: write it again with pnpm 9 or later"));
    }
    let mut found = Vec::new();
    for key in installed(lock) {
        let package = lock.as_mapping_get("packages").and_then(|packages| packages.as_mapping_get(&key));
        let package = package.ok_or_else(|| format!("`{key}` is not among its packages"))?;
        let optional = lock
            .as_mapping_get("snapshots")
            .and_then(|snapshots| snapshots.as_mapping_get(&key)?.as_mapping_get("optional")?.as_bool());
        let fits = allows(&list(package, "os"), &platform.os) && allows(&list(package, "cpu"), cpu(platform));
        if optional != Some(true) || fits {
            found.push(registered(&key, package)?);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// A package with everything that has to be known of it.
fn registered(key: &str, package: &Yaml<'_>) -> Result<Needed, String> {
    let resolution = package.as_mapping_get("resolution");
    let text = |name: &str| resolution.and_then(|resolution| text_at(resolution, name));
    let elsewhere = ["tarball", "repo", "directory", "path", "type"].into_iter().find_map(text);
    if let Some(elsewhere) = elsewhere {
        return Err(format!(
            "`{key}` comes from `{elsewhere}`, and only packages of {} can be pinned",
            npm::REGISTRY
        ));
    }
    let (name, version) = key.rsplit_once('@').filter(|(name, _)| !name.is_empty()).unwrap_or((key, ""));
    let integrity = text("integrity").filter(|hash| content_path(hash).is_some());
    let integrity = integrity.ok_or_else(|| format!("`{key}` has no `sha512-` integrity"))?.to_owned();
    // What follows a `+` says how a version was built, and is not part of an address.
    let url = tarball(name, version.split('+').next().unwrap_or(version));
    Ok(Needed { name: name.to_owned(), version: version.to_owned(), url, integrity })
}

/// Everything that the project and its parts need when they run, as keys of `packages`.
fn installed(lock: &Yaml<'_>) -> BTreeSet<String> {
    const KINDS: [&str; 2] = ["dependencies", "optionalDependencies"];
    let snapshots = lock.as_mapping_get("snapshots");
    let mut open: Vec<String> = Vec::new();
    for (_, importer) in entries(lock.as_mapping_get("importers")) {
        for (name, found) in KINDS.into_iter().flat_map(|kind| entries(importer.as_mapping_get(kind))) {
            open.extend(text_at(found, "version").and_then(|version| snapshot(name, version)));
        }
    }
    let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
    while let Some(key) = open.pop() {
        // `a@1.0.0(b@2.0.0)` is `a@1.0.0` that was given `b@2.0.0` as its peer.
        found.insert(key.split('(').next().unwrap_or(&key).to_owned());
        let snapshot_of = snapshots.and_then(|snapshots| snapshots.as_mapping_get(&key));
        if let (true, Some(entry)) = (seen.insert(key), snapshot_of) {
            for (name, version) in KINDS.into_iter().flat_map(|kind| entries(entry.as_mapping_get(kind))) {
                open.extend(version.as_str().and_then(|version| snapshot(name, version)));
            }
        }
    }
    found
}

/// The key of a dependency: its version alone, unless it goes by another name than its own. A part of
/// the project has none.
fn snapshot(name: &str, version: &str) -> Option<String> {
    if version.starts_with("link:") {
        return None;
    }
    let plain = version.split('(').next().unwrap_or(version);
    let renamed = match (plain.find('@'), plain.find(':')) {
        (Some(at), Some(colon)) => at < colon,
        (Some(_), None) => true,
        (None, _) => false,
    };
    Some(if renamed { version.to_owned() } else { format!("{name}@{version}") })
}

fn entries<'a, 'b>(mapping: Option<&'a Yaml<'b>>) -> impl Iterator<Item = (&'a str, &'a Yaml<'b>)> {
    let mapping = mapping.and_then(Yaml::as_mapping).into_iter().flatten();
    mapping.filter_map(|(key, value)| Some((key.as_str()?, value)))
}

fn text_at<'a>(node: &'a Yaml<'_>, key: &str) -> Option<&'a str> {
    node.as_mapping_get(key)?.as_str()
}

fn list<'a>(node: &'a Yaml<'_>, key: &str) -> Vec<&'a str> {
    let found = node.as_mapping_get(key).and_then(Yaml::as_sequence).into_iter().flatten();
    found.filter_map(Yaml::as_str).collect()
}

/// The registry of a step: it knows where each pinned tarball lies, starts the command that it is given
/// with its own address, and ends with it.
#[must_use]
pub fn server(items: &[Item]) -> Vec<u8> {
    const START: &str = r#"import { spawn } from "node:child_process";
import { createReadStream } from "node:fs";
import { createServer } from "node:http";

const server = createServer((request, answer) => {
  const file = files[decodeURIComponent(request.url)];
  if (file === undefined) return answer.writeHead(404).end();
  createReadStream(new URL(file, import.meta.url)).pipe(answer);
});
server.listen(0, "127.0.0.1", () => {
  const [program, ...words] = process.argv.slice(2);
  const registry = `--registry=http://127.0.0.1:${server.address().port}/`;
  const child = spawn(program, [...words, registry], { stdio: "inherit" });
  child.on("error", error => { console.error(`${program}: ${error.message}`); process.exit(127); });
  child.on("exit", code => process.exit(code ?? 1));
});
"#;
    let files: BTreeMap<&str, String> = items
        .iter()
        .filter_map(|item| {
            let path = item.url.strip_prefix(npm::REGISTRY)?;
            Some((path, format!("./{}", content_path(item.integrity.as_deref()?)?)))
        })
        .collect();
    let files = serde_json::to_string_pretty(&files).unwrap_or_default();
    format!("{START}const files = {files};\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "lockfileVersion: '9.0'
importers:
  .:
    dependencies:
      a:
        specifier: ^1.0.0
        version: 1.0.0(peer@3.0.0)
      part:
        specifier: workspace:*
        version: link:packages/part
    devDependencies:
      dev:
        specifier: 1.0.0
        version: 1.0.0
  packages/part:
    dependencies:
      alias:
        specifier: npm:@scope/real@2.0.0
        version: '@scope/real@2.0.0'
    optionalDependencies:
      native:
        specifier: 1.0.0
        version: 1.0.0
packages:
  '@scope/real@2.0.0': {resolution: {integrity: HASH}}
  a@1.0.0: {resolution: {integrity: HASH}}
  dev@1.0.0: {resolution: {integrity: HASH}}
  native@1.0.0: {resolution: {integrity: HASH}}
  native-x64@1.0.0: {resolution: {integrity: HASH}, cpu: [x64], os: [linux]}
  native-arm@1.0.0: {resolution: {integrity: HASH}, cpu: [arm64], os: [linux]}
  peer@3.0.0+build: {resolution: {integrity: HASH}}
snapshots:
  '@scope/real@2.0.0': {}
  a@1.0.0(peer@3.0.0):
    dependencies:
      peer: 3.0.0+build
  dev@1.0.0: {}
  native@1.0.0:
    optionalDependencies:
      native-x64: 1.0.0
      native-arm: 1.0.0
  native-x64@1.0.0: {optional: true}
  native-arm@1.0.0: {optional: true}
  peer@3.0.0+build: {}
";

    fn lock(replaced: &str, by: &str) -> String {
        LOCK.replace(replaced, by).replace("HASH", &npm::integrity(&[7; 64]))
    }

    fn urls(lock: &str) -> Result<Vec<String>, String> {
        let found = needed(lock.as_bytes(), &"linux/amd64".parse().unwrap())?;
        Ok(found.into_iter().map(|one| one.url.replace(npm::REGISTRY, "")).collect())
    }

    #[test]
    fn only_what_runs_here_is_downloaded() {
        let expected = [
            "/@scope/real/-/real-2.0.0.tgz",
            "/a/-/a-1.0.0.tgz",
            "/native/-/native-1.0.0.tgz",
            "/native-x64/-/native-x64-1.0.0.tgz",
            "/peer/-/peer-3.0.0.tgz",
        ];
        assert_eq!(urls(&lock("", "")).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_pinned_is_refused() {
        let refusal = |replaced: &str, by: &str| urls(&lock(replaced, by)).unwrap_err();
        insta::assert_snapshot!(refusal("'9.0'", "'6.0'"), @"it has the version `6.0`: write it again with pnpm 9 or later");
        insta::assert_snapshot!(refusal("a@1.0.0: {resolution: {integrity: HASH}}", "a@1.0.0: {resolution: {}}"), @"`a@1.0.0` has no `sha512-` integrity");
        insta::assert_snapshot!(refusal("a@1.0.0: {resolution: {integrity: HASH}}", "a@1.0.0: {resolution: {tarball: 'https://x/a.tgz'}}"), @"`a@1.0.0` comes from `https://x/a.tgz`, and only packages of https://registry.npmjs.org can be pinned");
        insta::assert_snapshot!(refusal("  a@1.0.0: {resolution: {integrity: HASH}}\n", ""), @"`a@1.0.0` is not among its packages");
        assert!(urls("a: [").is_err() && urls("").is_err());
    }

    #[test]
    fn the_registry_knows_every_tarball() {
        let found = needed(lock("", "").as_bytes(), &"linux/amd64".parse().unwrap()).unwrap();
        let items: Vec<Item> = found
            .into_iter()
            .map(|Needed { name, version, url, integrity }| {
                let digest = crate::model::digest::Digest::of(b"");
                Item { name, version, size: 1, digest, integrity: Some(integrity), url }
            })
            .collect();
        let script = String::from_utf8(server(&items)).unwrap();
        let path = content_path(&npm::integrity(&[7; 64])).unwrap();
        assert!(script.contains(&format!("\"/@scope/real/-/real-2.0.0.tgz\": \"./{path}\"")), "{script}");
    }
}
