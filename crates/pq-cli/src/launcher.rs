//! Which of how many processes this one is, as whoever started them says.
//!
//! Slurm, Kubernetes, `SkyPilot`, MPI and torchrun start a command many times and tell each process by variables which one it is.
//! [`shard_place`] asks all of them, for work that is cut into shards; [`rank_place`] those that start the processes of one computation.
//! Launchers that contradict each other are refused: one that took the wrong word would leave work out, or do it twice.

use std::fmt::{self, Display, Formatter};

/// Who starts processes and numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Launcher {
    /// A task of a Slurm array (`sbatch --array`).
    SlurmArray,
    /// A pod of a Kubernetes Indexed Job; the Job passes the number of its completions as `PQ_SHARDS`.
    Kubernetes,
    /// A node of a `SkyPilot` task.
    SkyPilot,
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpiexec` of MPICH and its relatives.
    Mpich,
    /// torchrun, and launchers that set the same variables.
    Torchrun,
    /// A task of a Slurm step (`srun`). A step passes its variables on to whatever runs in it, so they count only where no launcher within
    /// it says more; the script of a batch job has a number (`SLURM_PROCID`) and is in no step.
    SlurmStep,
}

impl Launcher {
    /// All launchers that are known.
    pub const ALL: [Self; 7] = [
        Self::SlurmArray,
        Self::Kubernetes,
        Self::SkyPilot,
        Self::OpenMpi,
        Self::Mpich,
        Self::Torchrun,
        Self::SlurmStep,
    ];

    /// The variables that hold a process's number and how many there are.
    pub fn variables(self) -> [&'static str; 2] {
        match self {
            Self::SlurmArray => ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"],
            Self::Kubernetes => ["JOB_COMPLETION_INDEX", "PQ_SHARDS"],
            Self::SkyPilot => ["SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES"],
            Self::OpenMpi => ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
            Self::Mpich => ["PMI_RANK", "PMI_SIZE"],
            Self::Torchrun => ["RANK", "WORLD_SIZE"],
            Self::SlurmStep => ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
        }
    }

    /// Whether it starts the processes of one computation, which wait for each other; the others start processes that do not.
    pub fn starts_ranks(self) -> bool {
        matches!(self, Self::OpenMpi | Self::Mpich | Self::Torchrun | Self::SlurmStep)
    }
}

impl Display for Launcher {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::SlurmArray => "the Slurm array",
            Self::Kubernetes => "the Kubernetes Job",
            Self::SkyPilot => "SkyPilot",
            Self::OpenMpi => "Open MPI",
            Self::Mpich => "MPICH",
            Self::Torchrun => "torchrun",
            Self::SlurmStep => "the Slurm step",
        })
    }
}

/// Which of how many processes one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
    /// Who says so.
    pub by: Launcher,
}

impl Display for Place {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let [index, count] = self.by.variables();
        write!(out, "{} of {} by {} ({index}, {count})", self.index, self.count, self.by)
    }
}

/// Why what launchers say cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LauncherError {
    /// One variable of a pair is set and the other is not.
    #[error(
        "`{there}` is set and `{missing}` is not, so it is not known which of how many processes this is"
    )]
    Half {
        /// What is set.
        there: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// A variable is no number.
    #[error("`{variable}` is `{value}`, which is no number from 0")]
    NoNumber {
        /// Its name.
        variable: &'static str,
        /// What it holds.
        value: String,
    },
    /// A number beyond the last process.
    #[error("process {place}, but the last of {count} is {last}", count = place.count, last = place.count.saturating_sub(1))]
    Beyond {
        /// What is said.
        place: Place,
    },
    /// The tasks of a Slurm array have gaps, so their number tells nothing of how many shards there are.
    #[error(
        "the Slurm array runs from task {first} to {last} and has {count} tasks, so their number is not that of all shards: say how many \
         there are, as in --shard /8"
    )]
    Gaps {
        /// The lowest task.
        first: usize,
        /// The highest.
        last: usize,
        /// How many there are.
        count: usize,
    },
    /// Two launchers say different things.
    #[error("this is process {one}, and also {other}: start it by one launcher")]
    Disagree {
        /// What the one says.
        one: Place,
        /// What the other says.
        other: Place,
    },
    /// `PMIX_RANK` says another number.
    #[error("`PMIX_RANK` says that this is process {rank}, and it is also process {place}")]
    Pmix {
        /// What it says.
        rank: usize,
        /// What another launcher says.
        place: Place,
    },
    /// `PMIX_RANK` alone.
    #[error(
        "`PMIX_RANK` is set, and no variable tells how many processes there are (`SLURM_STEP_NUM_TASKS`, `OMPI_COMM_WORLD_SIZE`)"
    )]
    PmixAlone,
}

/// Looks up a variable; one that is empty counts as not set.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What each launcher says whose variables are set.
///
/// # Errors
/// When a variable is no number, its partner is missing, or a number lies beyond the last.
pub fn places(variables: Variables<'_>) -> Result<Vec<Place>, LauncherError> {
    Launcher::ALL.into_iter().filter_map(|launcher| place_by(launcher, variables).transpose()).collect()
}

/// Which shard this process is, where launchers say so: by Slurm arrays, Kubernetes Indexed Jobs, `SkyPilot`, and whoever starts ranks.
///
/// # Errors
/// When variables are broken or contradict each other.
pub fn shard_place(variables: Variables<'_>) -> Result<Option<Place>, LauncherError> {
    agreed(&places(variables)?, variables)
}

/// The number of this process in a computation of several that wait for each other, where a launcher started more than one of them or
/// says that there is one.
///
/// # Errors
/// When variables are broken or contradict each other.
pub fn rank_place(variables: Variables<'_>) -> Result<Option<Place>, LauncherError> {
    let launchers = Launcher::ALL.into_iter().filter(|launcher| launcher.starts_ranks());
    let places = launchers.filter_map(|launcher| place_by(launcher, variables).transpose());
    agreed(&places.collect::<Result<Vec<_>, _>>()?, variables)
}

/// The number alone that launchers give this process, for who says himself how many there are: of a Slurm array the task's own number, so
/// that some shards can be run again by their numbers.
///
/// # Errors
/// When a variable is no number, or two launchers give different ones.
pub fn shard_index(variables: Variables<'_>) -> Result<Option<(usize, Launcher)>, LauncherError> {
    let mut found: Option<(usize, Launcher)> = None;
    for launcher in Launcher::ALL {
        let [name, _] = launcher.variables();
        let Some(index) = number(variables, name)? else { continue };
        if launcher == Launcher::SlurmStep && place_by(launcher, variables)?.is_none() {
            continue;
        }
        match found {
            None => found = Some((index, launcher)),
            // What a step passes on says nothing of what runs in it.
            Some(_) if launcher == Launcher::SlurmStep => {}
            Some((other, by)) if other != index => {
                let place = |index, by| Place { index, count: index + 1, by };
                return Err(LauncherError::Disagree { one: place(other, by), other: place(index, launcher) });
            }
            Some(_) => {}
        }
    }
    Ok(found)
}

fn place_by(launcher: Launcher, variables: Variables<'_>) -> Result<Option<Place>, LauncherError> {
    let [index, count] = launcher.variables();
    let place = match (number(variables, index)?, number(variables, count)?) {
        // A shell in an allocation knows how many tasks it is for, and is none of them; `WORLD_SIZE`, `PQ_SHARDS` alone number nothing.
        (None, _) => return Ok(None),
        (Some(_), None) if launcher == Launcher::SlurmStep => return Ok(None),
        (Some(_), None) => return Err(LauncherError::Half { there: index, missing: count }),
        (Some(index), Some(count)) => Place { index, count, by: launcher },
    };
    let place = if launcher == Launcher::SlurmArray { from_zero(place, variables)? } else { place };
    if place.index >= place.count {
        return Err(LauncherError::Beyond { place });
    }
    Ok(Some(place))
}

/// The place of a task in its array, which may begin anywhere and take steps, but leave nothing out.
fn from_zero(task: Place, variables: Variables<'_>) -> Result<Place, LauncherError> {
    let first = number(variables, "SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
    let step = number(variables, "SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
    let last = number(variables, "SLURM_ARRAY_TASK_MAX")?.unwrap_or(first + (task.count.max(1) - 1) * step);
    let is_even = task.index >= first && (task.index - first).is_multiple_of(step);
    if last < first || (last - first) / step + 1 != task.count || !is_even {
        return Err(LauncherError::Gaps { first, last, count: task.count });
    }
    Ok(Place { index: (task.index - first) / step, ..task })
}

fn number(variables: Variables<'_>, name: &'static str) -> Result<Option<usize>, LauncherError> {
    let Some(value) = variables(name).filter(|value| !value.trim().is_empty()) else { return Ok(None) };
    let parsed = value.trim().parse();
    parsed.map(Some).map_err(|_| LauncherError::NoNumber { variable: name, value })
}

/// The one place that all of them mean. One of a single process says nothing where another has several: a task of an array is also the
/// only one of its step.
fn agreed(places: &[Place], variables: Variables<'_>) -> Result<Option<Place>, LauncherError> {
    let has_inner = places.iter().any(|place| place.by.starts_ranks() && place.by != Launcher::SlurmStep);
    let counts = |place: &&Place| !(has_inner && place.by == Launcher::SlurmStep);
    let several = |place: &&Place| place.count > 1;
    let counted: Vec<Place> = places.iter().filter(counts).copied().collect();
    let first = counted.iter().find(several).or(counted.first()).copied();
    let Some(first) = first else {
        let is_alone = number(variables, "PMIX_RANK")?.is_some();
        return if is_alone { Err(LauncherError::PmixAlone) } else { Ok(None) };
    };
    if let Some(other) =
        counted.iter().filter(several).find(|other| (other.index, other.count) != (first.index, first.count))
    {
        return Err(LauncherError::Disagree { one: first, other: *other });
    }
    match number(variables, "PMIX_RANK")? {
        Some(rank) if rank != first.index && first.by.starts_ranks() => {
            Err(LauncherError::Pmix { rank, place: first })
        }
        _ => Ok(Some(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let all: std::collections::BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        move |name| all.get(name).cloned()
    }

    fn shard(pairs: &[(&str, &str)]) -> Result<Option<(usize, usize)>, String> {
        let found = shard_place(&of(pairs)).map_err(|error| error.to_string())?;
        Ok(found.map(|place| (place.index, place.count)))
    }

    #[test]
    fn ranks_on_which_launchers_disagree_are_not_told_to_name_a_shard() {
        let two = [
            ("RANK", "1"),
            ("WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_RANK", "0"),
            ("OMPI_COMM_WORLD_SIZE", "3"),
        ];
        let said = rank_place(&of(&two)).unwrap_err().to_string();
        assert!(said.contains("start it by one launcher") && !said.contains("--shard"), "{said}");
    }

    #[test]
    fn every_launcher_is_asked_by_its_own_variables() {
        for launcher in Launcher::ALL {
            let [index, count] = launcher.variables();
            let found = shard_place(&of(&[(index, "2"), (count, "4")])).unwrap().unwrap();
            assert_eq!(found, Place { index: 2, count: 4, by: launcher });
            assert!(shard(&[(index, "4"), (count, "4")]).is_err(), "{launcher} has no process 4 of 4");
            assert!(shard(&[(index, "-1"), (count, "4")]).unwrap_err().contains(index));
            match shard(&[(index, "2")]) {
                Err(reason) => assert!(reason.contains(count), "how many is not known: {reason}"),
                Ok(place) => {
                    assert_eq!(
                        (place, launcher),
                        (None, Launcher::SlurmStep),
                        "a batch script is in no step"
                    );
                }
            }
            assert_eq!(shard(&[(count, "4")]), Ok(None));
            let ranks = rank_place(&of(&[(index, "2"), (count, "4")])).unwrap();
            assert_eq!(ranks.is_some(), launcher.starts_ranks());
        }
        assert_eq!(shard(&[]), Ok(None));
        assert_eq!(shard(&[("RANK", ""), ("WORLD_SIZE", "")]), Ok(None), "empty is not set");
    }

    #[test]
    fn an_array_may_begin_anywhere_and_leave_nothing_out() {
        let array = |task: &str, first: &str, last: &str, step: &str, count: &str| {
            shard(&[
                ("SLURM_ARRAY_TASK_ID", task),
                ("SLURM_ARRAY_TASK_MIN", first),
                ("SLURM_ARRAY_TASK_MAX", last),
                ("SLURM_ARRAY_TASK_STEP", step),
                ("SLURM_ARRAY_TASK_COUNT", count),
            ])
        };
        assert_eq!(array("1", "1", "4", "1", "4"), Ok(Some((0, 4))));
        assert_eq!(array("6", "0", "6", "2", "4"), Ok(Some((3, 4))));
        let gaps = array("3", "0", "3", "1", "3").unwrap_err();
        assert!(gaps.contains("--shard /8"), "two shards run again are not two of two: {gaps}");
    }

    #[test]
    fn launchers_within_each_other_agree_or_are_refused() {
        let array = [("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_COUNT", "4")];
        let step = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")];
        assert_eq!(
            shard(&[array, step].concat()),
            Ok(Some((2, 4))),
            "a task of an array is alone in its step"
        );
        let many = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "2")];
        let refused = shard(&[array, many].concat()).unwrap_err();
        assert!(refused.contains("SLURM_ARRAY_TASK_ID") && refused.contains("SLURM_PROCID"), "{refused}");
        let mpi = [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")];
        assert_eq!(
            shard(&[mpi, many].concat()),
            Ok(Some((1, 2))),
            "mpirun in an allocation hands its variables on"
        );
        let torch = [("RANK", "0"), ("WORLD_SIZE", "2")];
        assert!(shard(&[mpi, torch].concat()).is_err());
        assert_eq!(
            rank_place(&of(&[array, mpi].concat())).unwrap().unwrap().count,
            2,
            "an array of computations"
        );
    }

    #[test]
    fn pmix_must_say_the_same_and_cannot_count() {
        let step = [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2")];
        assert_eq!(shard(&[&step[..], &[("PMIX_RANK", "1")]].concat()), Ok(Some((1, 2))));
        assert!(shard(&[&step[..], &[("PMIX_RANK", "0")]].concat()).unwrap_err().contains("PMIX_RANK"));
        assert!(shard(&[("PMIX_RANK", "0")]).unwrap_err().contains("SLURM_STEP_NUM_TASKS"));
    }

    #[test]
    fn the_number_alone_is_that_of_the_task() {
        let again =
            of(&[("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "1"), ("SLURM_PROCID", "0")]);
        assert_eq!(shard_index(&again), Ok(Some((3, Launcher::SlurmArray))));
        assert!(shard_index(&of(&[("RANK", "1"), ("JOB_COMPLETION_INDEX", "2")])).is_err());
        assert_eq!(shard_index(&of(&[])), Ok(None));
    }
}
