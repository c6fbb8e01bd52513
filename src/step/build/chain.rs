//! How an image came about: the file system after each step that made a layer, as BuildKit's own
//! definition of the image tells.
//!
//! A definition is a graph of operations, each named by the digest of its bytes. That of an image ends in the
//! one that made its last layer; from there, what each operation changed leads to the lowest. A part of
//! the graph is a definition too, of a state in between, which BuildKit has made already.

use std::collections::{BTreeMap, BTreeSet};

use bollard_buildkit_proto::pb;
use pb::op::Op as Kind;
use prost::Message as _;

use crate::model::digest::Digest;

/// Where an image's own file system is, in steps that see others too.
const ROOT: &str = "/";

/// The file system after a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    /// The same in every image of a session that shares the step and all before it.
    pub(super) name: String,
    /// How it is made.
    pub(super) definition: pb::Definition,
}

/// An image's states, the lowest layer first. `None` where they are not steps upon steps: an image of a registry
/// below, or layers that were put together.
pub(super) fn states(definition: &pb::Definition) -> Option<Vec<State>> {
    let ops = operations_of(definition)?;
    // The last operation is none: it only says which state is meant.
    let (_, end) = ops.last().filter(|(_, end)| end.op.is_none())?;
    let by_digest: BTreeMap<&str, &pb::Op> = ops.iter().map(|(digest, op)| (digest.as_str(), op)).collect();
    let mut at = end.inputs.first().cloned();
    let mut states = Vec::new();
    while let Some(state) = at {
        let op = by_digest.get(state.digest.as_str())?;
        at = match changed(op, state.index)? {
            Changed::Nothing => None,
            Changed::Input(number) => Some(op.inputs.get(number)?.clone()),
        };
        states.push(state);
    }
    states.reverse();
    let state = |state: pb::Input| State {
        name: format!("{} {}", state.digest, state.index),
        definition: part(definition, &ops, &by_digest, state),
    };
    Some(states.into_iter().map(state).collect())
}

/// The operations of an image that run, by their digests; what they read, such as folders, is not among them.
pub(super) fn operations(definition: &pb::Definition) -> Option<BTreeSet<String>> {
    let runs = |op: &pb::Op| !matches!(op.op, Some(Kind::Source(_)) | None);
    let ops = operations_of(definition)?.into_iter();
    Some(ops.filter(|(_, op)| runs(op)).map(|(digest, _)| digest).collect())
}

/// All operations of a definition, each with the digest that names it, in its order.
fn operations_of(definition: &pb::Definition) -> Option<Vec<(String, pb::Op)>> {
    let op = |bytes: &Vec<u8>| Some((Digest::of(bytes).to_string(), pb::Op::decode(bytes.as_slice()).ok()?));
    definition.def.iter().map(op).collect()
}

/// What an operation changed into its result.
enum Changed {
    /// An empty file system.
    Nothing,
    /// One of its inputs.
    Input(usize),
}

fn changed(op: &pb::Op, result: i64) -> Option<Changed> {
    let inputs = i64::try_from(op.inputs.len()).ok()?;
    let mut at = match op.op.as_ref()? {
        Kind::Exec(exec) => {
            exec.mounts.iter().find(|mount| mount.dest == ROOT && mount.output == result)?.input
        }
        Kind::File(file) => file.actions.iter().find(|action| action.output == result)?.input,
        _ => return None,
    };
    // Actions of one operation follow each other; their numbers come after those of the inputs.
    while let (Some(Kind::File(file)), true) = (&op.op, at >= inputs) {
        let before = usize::try_from(at - inputs).ok().and_then(|action| file.actions.get(action))?.input;
        if before >= at {
            return None;
        }
        at = before;
    }
    if at < 0 { Some(Changed::Nothing) } else { usize::try_from(at).ok().map(Changed::Input) }
}

/// The part of a definition that a state depends on. What BuildKit was told besides about each operation is
/// kept: an operation that was to run again is another one than the same without that.
fn part(
    whole: &pb::Definition,
    ops: &[(String, pb::Op)],
    by_digest: &BTreeMap<&str, &pb::Op>,
    state: pb::Input,
) -> pb::Definition {
    let mut needed = BTreeSet::new();
    let mut open = vec![state.digest.as_str()];
    while let Some(digest) = open.pop() {
        if let Some(op) = by_digest.get(digest).filter(|_| needed.insert(digest.to_owned())) {
            open.extend(op.inputs.iter().map(|input| input.digest.as_str()));
        }
    }
    let of_needed = whole.def.iter().zip(ops).filter(|(_, (digest, _))| needed.contains(digest));
    let mut def: Vec<Vec<u8>> = of_needed.map(|(bytes, _)| bytes.clone()).collect();
    def.push(pb::Op { inputs: vec![state], ..pb::Op::default() }.encode_to_vec());
    let metadata = whole.metadata.iter().filter(|(digest, _)| needed.contains(*digest));
    let metadata = metadata.map(|(digest, told)| (digest.clone(), told.clone())).collect();
    pb::Definition { def, metadata, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts operations together, each with the inputs that it names by their numbers.
    fn definition(ops: Vec<(Kind, Vec<usize>)>) -> pb::Definition {
        let mut definition = pb::Definition::default();
        let mut digests: Vec<String> = Vec::new();
        for (op, inputs) in ops {
            let inputs =
                inputs.iter().map(|at| pb::Input { digest: digests[*at].clone(), index: 0 }).collect();
            let bytes = pb::Op { op: Some(op), inputs, ..pb::Op::default() }.encode_to_vec();
            digests.push(Digest::of(&bytes).to_string());
            definition.metadata.insert(digests[digests.len() - 1].clone(), pb::OpMetadata::default());
            definition.def.push(bytes);
        }
        let end = pb::Input { digest: digests[digests.len() - 1].clone(), index: 0 };
        definition.def.push(pb::Op { inputs: vec![end], ..pb::Op::default() }.encode_to_vec());
        definition
    }

    fn source(identifier: &str) -> Kind {
        Kind::Source(pb::SourceOp { identifier: identifier.to_owned(), ..pb::SourceOp::default() })
    }

    /// A `COPY` of so many paths onto the first input, or onto nothing.
    fn copy(onto: i64, paths: i64) -> Kind {
        let inputs = if onto < 0 { 1 } else { 2 };
        let action = |at: i64| pb::FileAction {
            input: if at == 0 { onto } else { inputs + at - 1 },
            secondary_input: inputs - 1,
            output: if at == paths - 1 { 0 } else { -1 },
            ..pb::FileAction::default()
        };
        Kind::File(pb::FileOp { actions: (0..paths).map(action).collect() })
    }

    fn run(onto: i64) -> Kind {
        let mount = |dest: &str, input, output| pb::Mount {
            dest: dest.to_owned(),
            input,
            output,
            ..pb::Mount::default()
        };
        Kind::Exec(pb::ExecOp {
            mounts: vec![mount("/mnt", 1, -1), mount("/", onto, 0)],
            ..pb::ExecOp::default()
        })
    }

    #[test]
    fn states_lead_from_the_lowest_layer_to_the_image() {
        let whole = definition(vec![
            (source("local://context"), vec![]),
            (copy(-1, 1), vec![0]),
            (copy(0, 3), vec![1, 0]),
            (run(0), vec![2, 0]),
        ]);
        assert_eq!(operations(&whole).unwrap().len(), 3);
        let states = states(&whole).unwrap();
        let sizes: Vec<usize> = states.iter().map(|state| state.definition.def.len()).collect();
        assert_eq!(sizes, [3, 4, 5]);
        assert_eq!(states[2].definition, whole);
        assert_eq!(states[0].definition.metadata.len(), 2);
    }

    #[test]
    fn what_is_no_chain_of_steps_is_not_taken_for_one() {
        let image = vec![(source("docker-image://docker.io/library/x"), vec![]), (run(0), vec![0, 0])];
        assert_eq!(states(&definition(image)), None);
        let merged = Kind::Merge(pb::MergeOp::default());
        assert_eq!(states(&definition(vec![(copy(-1, 1), vec![]), (merged, vec![0])])), None);
        // An action that follows itself, and inputs that are not there.
        assert_eq!(states(&definition(vec![(source("local://x"), vec![]), (copy(1, 1), vec![0])])), None);
        assert_eq!(states(&definition(vec![(run(0), vec![])])), None);
        assert_eq!(states(&pb::Definition::default()), None);
        assert_eq!(
            states(&pb::Definition { def: vec![b"no operation".to_vec()], ..pb::Definition::default() }),
            None
        );
    }
}
