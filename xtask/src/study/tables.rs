//! What is studied: data sets, and on each the arms with the settings that are tried for them.

/// The seeds on which settings are compared, and those on which the chosen ones are tested.
pub(super) const CHOOSING: [u64; 2] = [100, 101];
pub(super) const TESTING: [u64; 5] = [0, 1, 2, 3, 4];

/// A data set with a network, and what is trained on it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) preset: &'static str,
    /// What of the preset is set otherwise.
    pub(super) set: &'static [&'static str],
    /// Whether somebody has to say where its data are.
    pub(super) needs_data: bool,
    arms: &'static [&'static [Arm]],
    /// The arm that the first number of the page is about, and the one that differs from it by imitation alone.
    pub(super) versus: [&'static str; 2],
    /// The arms that are trained for fewer and more epochs as well.
    pub(super) curves: &'static [&'static str],
    /// Epochs by the preset, of the keys that say them.
    lengths: &'static [(&'static str, f64)],
}

/// A way to train a student.
#[derive(Debug)]
pub(super) struct Arm {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    /// What makes it this arm.
    pub(super) set: &'static [&'static str],
    /// The key whose values are tried, and these.
    key: &'static str,
    pub(super) values: &'static [&'static str],
}

impl Arm {
    /// The setting of a value that is tried.
    pub(super) fn setting(&self, value: &str) -> String {
        format!("{}={value}", self.key)
    }
}

impl Table {
    pub(super) fn arms(&self) -> impl Iterator<Item = &'static Arm> {
        self.arms.iter().copied().flatten()
    }

    /// The settings that give each arm of the curves so much of its epochs.
    pub(super) fn lengths(&self, budget: f64) -> impl Iterator<Item = String> {
        self.lengths.iter().map(move |(key, epochs)| format!("{key}={}", epochs * budget))
    }
}

/// The baselines, and WIN as the preset has it, with the rates that are tried of each.
macro_rules! methods {
    ($baseline:expr, $tune:expr) => {
        &[
            Arm {
                name: "vanilla",
                method: "vanilla",
                set: &[],
                key: "vanilla.lr",
                values: $baseline,
            },
            Arm { name: "kd", method: "kd", set: &[], key: "kd.lr", values: $baseline },
            Arm {
                name: "fitnets",
                method: "fitnets",
                set: &[],
                key: "fitnets.lr",
                values: $baseline,
            },
            Arm {
                name: "start_only",
                method: "start_only",
                set: &[],
                key: "tune.lr",
                values: $tune,
            },
            win!("win", &[], $tune),
        ]
    };
}

/// An arm of WIN.
macro_rules! win {
    ($name:literal, $set:expr, $tune:expr) => {
        Arm { name: $name, method: "win", set: $set, key: "tune.lr", values: $tune }
    };
}

/// Rates for Adam.
const ADAM: &[&str] = &["1e-3", "3e-3", "1e-2"];
/// Of the deep thin MLP with 24 epochs for a student.
const MLP: &[Arm] = methods!(ADAM, ADAM);
/// Each differs from `win` in what its name says; a student has the same epochs by all.
const VARIANTS: &[Arm] = &[
    win!("win, start sample", &["win.start=\"sample\""], ADAM),
    win!("win, start random", &["win.start=\"random\""], ADAM),
    win!("win, narrow 1/8", &["narrow.epochs=0.75", "tune.epochs=21"], ADAM),
    win!("win, narrow 1/4", &["narrow.epochs=1.5", "tune.epochs=18"], ADAM),
    win!("win, freeze", &["win.freeze=true"], ADAM),
    win!("win, 3 restarts", &["win.restarts=3", "narrow.epochs=1"], ADAM),
];
const MLP_LENGTHS: &[(&str, f64)] =
    &[("vanilla.epochs", 24.0), ("kd.epochs", 24.0), ("narrow.epochs", 3.0), ("tune.epochs", 12.0)];
const SGD: &[&str] = &["0.03", "0.05", "0.1"];
/// Of the thin ResNet with 12 epochs for a student.
const RESNET: &[Arm] = methods!(SGD, SGD);
const DRAWN: &[&str] = &["vanilla", "kd", "start_only", "win"];

/// By the paper's own rates, of which none is chosen.
const PAPER: &[&str] = &["0.01"];
const OF_PAPER: &[Arm] = &[
    Arm { name: "vanilla", method: "vanilla", set: &[], key: "vanilla.lr", values: &["0.1"] },
    Arm { name: "kd", method: "kd", set: &[], key: "kd.lr", values: &["0.1"] },
    Arm { name: "start_only", method: "start_only", set: &[], key: "tune.lr", values: PAPER },
    win!("win", &[], PAPER),
    win!("win, start random", &["win.start=\"random\""], PAPER),
];

pub(super) const TABLES: [Table; 4] = [
    Table {
        name: "demo",
        title: "The built-in images, a 12-layer, 10-wide MLP",
        preset: "demo",
        set: &[],
        needs_data: false,
        arms: &[MLP, VARIANTS],
        versus: ["win", "start_only"],
        curves: DRAWN,
        lengths: MLP_LENGTHS,
    },
    Table {
        name: "idx",
        title: "An IDX set, a 12-layer, 10-wide MLP",
        preset: "mnist-mlp-thin",
        set: &[],
        needs_data: true,
        arms: &[MLP, VARIANTS],
        versus: ["win", "start_only"],
        curves: DRAWN,
        lengths: MLP_LENGTHS,
    },
    Table {
        name: "cifar",
        title: "CIFAR-10 at 16×16, a thin ResNet",
        preset: "cifar10-resnet-thin",
        set: &[],
        needs_data: true,
        arms: &[RESNET],
        versus: ["win", "start_only"],
        curves: &[],
        lengths: &[],
    },
    Table {
        name: "paper",
        title: "All of CIFAR-10, a thin ResNet by the paper's schedules",
        preset: "cifar10-paper",
        set: &[],
        needs_data: true,
        arms: &[OF_PAPER],
        versus: ["win", "start_only"],
        curves: &[],
        lengths: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arm_has_as_many_settings_and_a_name_of_its_own() {
        for table in &TABLES {
            let names: Vec<_> = table.arms().map(|arm| arm.name).collect();
            for (k, name) in names.iter().enumerate() {
                assert!(!names[..k].contains(name), "{name}");
            }
            let count = table.arms().next().expect("an arm").values.len();
            assert!(table.arms().all(|arm| arm.values.len() == count), "{}", table.name);
            for name in table.versus.iter().chain(table.curves) {
                assert!(names.contains(name), "{name}");
            }
            // A length that an arm of the curves says itself would not follow the budget.
            for arm in table.arms().filter(|arm| table.curves.contains(&arm.name)) {
                assert!(arm.set.iter().all(|set| !set.contains("epochs")), "{}", arm.name);
            }
        }
    }

    #[test]
    fn a_budget_is_a_share_of_the_epochs_of_a_method() {
        let [demo, ..] = &TABLES;
        let expected = ["vanilla.epochs=12", "kd.epochs=12", "narrow.epochs=1.5", "tune.epochs=6"];
        assert_eq!(demo.lengths(0.5).collect::<Vec<_>>(), expected);
    }
}
