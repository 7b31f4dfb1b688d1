//! Who has started this process, and as one of how many: what launchers say in the environment.

use std::time::Duration;

use super::link::{Channel, Link, RankError};

/// On which ranks say where they are.
const HOSTS: Channel = Channel::new(1);
/// How long a rank may take to say where it is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Variables by which a launcher offers what MPI needs to find the other processes, and the MPI that understands them.
const OFFERS: [(&str, Family); 4] = [
    ("OMPI_COMM_WORLD_SIZE", Family::OpenMpi),
    ("PMI_SIZE", Family::Mpich),
    ("MPI_LOCALNRANKS", Family::Mpich),
    ("PMIX_RANK", Family::OpenMpi),
];

/// Variables that say how many processes there are, the nearest launcher's first.
const COUNTS: [&str; 4] =
    ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"];

/// Whose library is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Open MPI.
    OpenMpi,
    /// MPICH and what has its binary interface: Intel MPI, MVAPICH, Cray MPICH.
    Mpich,
}

/// What a launcher says of the processes that it has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launched {
    /// How many there are, if a variable says so.
    pub count: Option<usize>,
    /// The MPI that finds them.
    pub family: Family,
}

/// How this process was started, by its environment; none if it is alone.
///
/// # Errors
/// There should be several, and they have no way to find each other.
pub fn launched() -> Result<Option<Launched>, RankError> {
    by(|name| std::env::var(name).ok())
}

fn by(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Launched>, RankError> {
    let number = |name: &'static str| Some((name, variable(name)?.trim().parse::<usize>().ok()?));
    let count = COUNTS.into_iter().find_map(number);
    let offer = OFFERS.iter().find(|(name, _)| variable(name).is_some());
    match (offer, count) {
        (None, Some((name, count))) if count > 1 => Err(RankError::Carrier(format!(
            "{name} is {count}, but nothing joins these processes, and each would train the whole run: start them by `srun --mpi=pmix taper run …` or `mpirun taper run …`, or ask for one task (`--ntasks=1`)"
        ))),
        (None, _) | (Some(_), Some((_, 1))) => Ok(None),
        (Some((_, family)), count) => {
            Ok(Some(Launched { count: count.map(|(_, count)| count), family: *family }))
        }
    }
}

/// Which of the ranks on its machine this one is, from 0, and how many these are.
///
/// # Errors
/// A rank is gone, or does not say where it is.
pub fn place_on_host(link: &dyn Link) -> Result<(usize, usize), RankError> {
    let mut hosts = vec![link.host().to_owned()];
    if link.rank() == 0 {
        for rank in 1..link.count() {
            let name = link.receive(rank, HOSTS, PATIENCE)?;
            hosts.push(String::from_utf8_lossy(&name).into_owned());
        }
        for rank in 1..link.count() {
            link.send(rank, HOSTS, hosts.join("\n").as_bytes())?;
        }
    } else {
        link.send(0, HOSTS, link.host().as_bytes())?;
        let all = link.receive(0, HOSTS, PATIENCE)?;
        hosts = String::from_utf8_lossy(&all).lines().map(Into::into).collect();
    }
    let here = |hosts: &[String]| hosts.iter().filter(|host| *host == link.host()).count();
    Ok((here(&hosts[..link.rank().min(hosts.len())]), here(&hosts)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Threads;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Launched>, RankError> {
        let value = |name: &str| variables.iter().find(|(of, _)| *of == name);
        by(|name| value(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_launcher_says_how_many_it_has_started() {
        let launched = |count, family| Ok(Some(Launched { count, family }));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("SLURM_NTASKS", "1"), ("SLURM_PROCID", "0")]), Ok(None));
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "1"), ("PMIX_RANK", "0")]), Ok(None));
        let open = launched(Some(4), Family::OpenMpi);
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "4"), ("SLURM_NTASKS", "8")]), open);
        assert_eq!(of(&[("PMIX_RANK", "0"), ("SLURM_NTASKS", "4")]), open);
        assert_eq!(of(&[("PMI_SIZE", "2"), ("PMI_RANK", "1")]), launched(Some(2), Family::Mpich));
        assert_eq!(of(&[("PMIX_RANK", "0")]), launched(None, Family::OpenMpi));
    }

    #[test]
    fn several_that_nothing_joins_are_refused() {
        let error = of(&[("SLURM_NTASKS", "2")]).expect_err("refused").to_string();
        assert!(error.starts_with("SLURM_NTASKS is 2") && error.contains("--mpi=pmix"), "{error}");
        // A step of one task in a job of two is alone.
        assert_eq!(of(&[("SLURM_NTASKS", "2"), ("SLURM_STEP_NUM_TASKS", "1")]), Ok(None));
    }

    #[test]
    fn ranks_of_one_machine_know_their_places() {
        let places: Vec<_> = std::thread::scope(|scope| {
            let ranks = Threads::of(3).into_iter();
            let threads: Vec<_> =
                ranks.map(|rank| scope.spawn(move || (place_on_host(&rank), rank))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic").0).collect()
        });
        assert_eq!(places, [Ok((0, 3)), Ok((1, 3)), Ok((2, 3))]);
    }
}
