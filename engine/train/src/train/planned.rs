//! The members of a run, and their teachers.

use serde::{Deserialize, Serialize};

use crate::config::{Config, Method};

/// A member that a run trains, or a teacher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The name of its folder and in the log: `win-0`, `teacher-0`.
    pub name: String,
    /// Its method; none for a teacher.
    pub method: Option<Method>,
    /// Its seed.
    pub seed: u64,
}

/// A run's teachers and members, in their order: a teacher stands before those that need it.
pub fn planned(config: &Config) -> Vec<Planned> {
    let teaches = config.methods.iter().any(|method| method.needs_teacher());
    let teacher = (teaches && config.teacher.is_trained()).then_some(None);
    let methods = || teacher.into_iter().chain(config.methods.iter().copied().map(Some));
    let named = |seed: u64, method: Option<Method>| {
        let name = format!("{}-{seed}", method.map_or("teacher", Method::name));
        Planned { name, method, seed }
    };
    let of_seed = |&seed: &u64| methods().map(move |method| named(seed, method));
    config.seeds.iter().flat_map(of_seed).collect()
}
