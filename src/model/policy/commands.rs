//! What is started exists and may be executed; scripts on the way find their interpreter.

use super::elf::Machine;
use super::{Charter, Evidence, Finding, Rule};

/// Judges the entrypoint, the services, the health check, and the scripts that `PATH` offers.
pub(super) fn check(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let settings = &evidence.settings;
    let mut findings = Vec::new();
    let start: Vec<String> = settings.entrypoint.iter().chain(&settings.cmd).cloned().collect();
    // An init is followed by what it starts: `tini -- /entrypoint`.
    let started = start.iter().position(|word| word == "--").map(|at| &start[at + 1..]);
    let probe = settings.probe().unwrap_or_default();
    let vectors = [
        (vec!["init"], "the entrypoint".to_owned(), &start[..]),
        (vec!["services"], "the entrypoint".to_owned(), started.unwrap_or_default()),
        (vec!["health", "probe"], "the health check".to_owned(), &probe[..]),
    ];
    let services = charter.settings.services.iter().map(|(name, service)| {
        (vec!["services", name.as_str(), "command"], format!("service `{name}`"), &service.command[..])
    });
    for (key, what, words) in vectors.into_iter().chain(services) {
        let Some(program) = words.first() else { continue };
        if let Err(reason) = find(evidence, program) {
            findings.push(charter.error(
                Rule::Command,
                &key,
                Some(program),
                format!("{what} starts `{program}`, {reason}"),
                "copy it into the image, correct its path, or set its mode",
            ));
        }
    }
    findings.extend(scripts(charter, evidence));
    findings
}

/// Where a container finds a program, or why it does not.
fn find(evidence: &Evidence, program: &str) -> Result<String, String> {
    let (files, settings) = (&evidence.files, &evidence.settings);
    let (uid, gid) = settings.ids().unwrap_or((u64::MAX, u64::MAX));
    let candidates: Vec<String> = if program.contains('/') {
        let relative = !program.starts_with('/');
        vec![if relative { format!("{}/{program}", settings.working_dir) } else { program.to_owned() }]
    } else {
        settings.path().iter().map(|folder| format!("{folder}/{program}")).collect()
    };
    let there: Vec<&String> = candidates.iter().filter(|path| files.follow(path).is_some()).collect();
    match there.iter().find(|path| files.executable(path, uid, gid)) {
        Some(path) => match files.follow(path).and_then(|(path, _)| evidence.elves.get(&path)) {
            Some(elf)
                if Machine::of(&settings.architecture).is_some_and(|machine| machine != elf.machine) =>
            {
                Err("which is built for another processor".to_owned())
            }
            _ => Ok((*path).clone()),
        },
        None if there.is_empty() && program.contains('/') => Err("which is not in the image".to_owned()),
        None if there.is_empty() => {
            Err(format!("which is in none of the folders of `PATH` ({})", settings.path().join(":")))
        }
        None => Err("which the image's user may not execute".to_owned()),
    }
}

/// Scripts in the folders of `PATH`, and those that are started by path. Others, such as the thousands
/// of a `node_modules`, are data until somebody starts them.
fn scripts(charter: &Charter, evidence: &Evidence) -> Vec<Finding> {
    let (files, settings) = (&evidence.files, &evidence.settings);
    let folders: Vec<String> = settings.path().iter().filter_map(|f| Some(files.follow(f)?.0)).collect();
    let started = settings
        .entrypoint
        .iter()
        .chain(&settings.cmd)
        .chain(charter.settings.services.values().flat_map(|service| &service.command))
        .filter_map(|word| Some(files.follow(word)?.0));
    let started: Vec<String> = started.collect();
    let mut findings = Vec::new();
    for (path, line) in &evidence.scripts {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !folders.iter().any(|known| known == folder) && !started.contains(path) {
            continue;
        }
        let mut words = line.split_whitespace();
        let Some(interpreter) = words.next() else { continue };
        let mut missing = find(evidence, interpreter).err().map(|reason| (interpreter, reason));
        if missing.is_none() && interpreter.rsplit('/').next() == Some("env") {
            let program = words.find(|word| !word.starts_with('-') && !word.contains('='));
            missing = program.and_then(|program| Some((program, find(evidence, program).err()?)));
        }
        if let Some((program, reason)) = missing {
            findings.push(charter.error(
                Rule::Interpreter,
                &["steps"],
                Some(path),
                format!("the script `/{path}` needs `{program}`, {reason}"),
                "install the interpreter, or leave the script out",
            ));
        }
    }
    findings
}
