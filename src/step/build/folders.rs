//! The folders that a builder asks the session for: contexts, and rendered Dockerfiles.

use bollard_buildkit_proto::pb;
use prost::Message as _;

use crate::model::context::{Entry, File, Tree};
use crate::model::digest::Digest;
use crate::model::plan::Plan;

/// A folder of the session as one input; `what` is said while it is sent. The context is such a folder, whatever
/// parts of it a tier's steps read: the frontend's own input would differ from tier to tier, and BuildKit would ask
/// for the same files again.
pub(super) fn input(name: &str, session: &str, what: &str) -> pb::Definition {
    let source = pb::Op {
        op: Some(pb::op::Op::Source(pb::SourceOp {
            identifier: format!("local://{name}"),
            attrs: [
                ("local.session".to_owned(), session.to_owned()),
                ("local.sharedkeyhint".to_owned(), name.to_owned()),
            ]
            .into(),
        })),
        ..pb::Op::default()
    };
    let bytes = source.encode_to_vec();
    let digest = Digest::of(&bytes).to_string();
    let end = pb::Op { inputs: vec![pb::Input { digest: digest.clone(), index: 0 }], ..pb::Op::default() };
    let described = pb::OpMetadata {
        description: [("llb.customname".to_owned(), what.to_owned())].into(),
        ..pb::OpMetadata::default()
    };
    pb::Definition {
        def: vec![bytes, end.encode_to_vec()],
        metadata: [(digest, described)].into(),
        source: None,
    }
}

/// Puts contexts together as far as they agree: almost always all of them. Gives the trees, and for
/// each context which of them it is in.
pub(super) fn share(contexts: &[Tree]) -> (Vec<Tree>, Vec<usize>) {
    let mut trees: Vec<Tree> = Vec::new();
    let mut places = Vec::new();
    for context in contexts {
        let place = trees.iter_mut().position(|tree| tree.absorb(context)).unwrap_or_else(|| {
            trees.push(context.clone());
            trees.len() - 1
        });
        places.push(place);
    }
    (trees, places)
}

/// The name of a tree.
pub(super) fn context_name(at: usize) -> String {
    if at == 0 { "context".to_owned() } else { format!("context{at}") }
}

/// The file that a plan is built from.
pub(super) fn dockerfile_name(plan: &Plan) -> String {
    format!("{}.Dockerfile", plan.tier)
}

/// The folder of them.
pub(super) fn dockerfiles(plans: &[Plan]) -> Tree {
    let mut tree = Tree::default();
    for plan in plans {
        let file = File::generated(plan.dockerfile.clone().into_bytes(), false);
        tree.insert(&dockerfile_name(plan), Entry::File(file));
    }
    tree
}
