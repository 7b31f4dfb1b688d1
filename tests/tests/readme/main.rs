//! What README shows in fences: its commands run as they are written, by bash, in a folder with the data that they name; its configurations and its
//! Python are read by who is to read them. A block that nothing here knows how to try fails.
#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod fixtures;

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use support::{folder, taper};
use taper_tests::tools;
use toml::{Table, Value};

/// Words of the commands that stand for something of the reader's, and what that is here. The first that fits counts.
const PLACEHOLDERS: [(&str, &str); 6] = [
    (" MODEL ", " runs/mine "),
    // A finished run, which `taper serve` finds in its folder; the run of the lines before has been paused.
    ("/runs/ID/artifacts.zip", "/runs/mine/artifacts.zip"),
    ("/runs/ID/", "/runs/$(cat ID)/"),
    ("=/data/", "=data/"),
    (" /shared/", " shared/"),
    (":7878", ":$PORT"),
];

/// What commands and stand-ins find on the PATH, besides the stand-ins.
const PROGRAMS: [&str; 8] = ["bash", "cat", "cp", "curl", "grep", "mkdir", "seq", "sleep"];

/// A fenced block.
#[derive(Debug)]
struct Block {
    /// The line of its fence.
    line: usize,
    language: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository")
}

fn blocks() -> Vec<Block> {
    let readme = fs::read_to_string(root().join("README.md")).expect("README");
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (number, line) in (1..).zip(readme.lines()) {
        match (line.strip_prefix("```"), inside) {
            (Some(language), false) => {
                found.push(Block { line: number, language: language.into(), text: String::new() });
                inside = true;
            }
            (Some(rest), true) => {
                assert!(rest.is_empty(), "README.md:{number}: `{line}` within a fence");
                inside = false;
            }
            (None, true) => {
                let block = found.last_mut().expect("inside of one");
                block.text += line;
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!inside, "the last fence of README.md is open");
    found
}

fn of(languages: &[&str]) -> Vec<Block> {
    blocks().into_iter().filter(|block| languages.contains(&block.language.as_str())).collect()
}

#[test]
fn every_block_is_of_a_language_that_is_tried_here_or_is_no_code() {
    for Block { line, language, text } in blocks() {
        let known = match language.as_str() {
            "sh" | "yaml" | "toml" | "python" | "js" => true,
            // What `taper compare` has printed, and the names of files in a run directory.
            "text" => text.contains("────"),
            "" => text.starts_with("runs/mine/\n"),
            _ => false,
        };
        assert!(known, "README.md:{line}: nothing here tries this block:\n{text}");
    }
}

/// The command that a pod of Kubernetes runs, as a line of a shell. Words are parted by a comma and a space, which none of them has in it.
fn of_pod(yaml: &str) -> String {
    let (_, rest) = yaml.split_once("command: [").expect("a command");
    let (words, _) = rest.split_once("]}").expect("its end");
    format!("JOB_COMPLETION_INDEX=1 {}\n", words.replace(", ", " "))
}

/// Where the commands run, and what they find there.
struct Place {
    folder: tempfile::TempDir,
    port: u16,
}

impl Place {
    fn new() -> Self {
        let folder = folder();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("made");
        for name in PROGRAMS {
            let path = tools::on_path(&[name]);
            let path = path.unwrap_or_else(|| panic!("README's commands need {name} on the PATH"));
            symlink(path, bin.join(name)).expect("linked");
        }
        let home = folder.path().join("home");
        fs::create_dir(&home).expect("made");
        fixtures::write(&home);
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("its number").port();
        Self { folder, port }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// What the stand-ins said that they did with each command so far.
    fn notes(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("notes")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Runs commands after the stand-ins; the first that fails ends them.
    fn bash(&self, commands: &str) -> Output {
        let block = self.folder.path().join("block.sh");
        fs::write(&block, commands).expect("written");
        let stand_ins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readme/stand_ins.sh");
        let mut bash = Command::new("bash");
        bash.args([
            "--norc",
            "-euo",
            "pipefail",
            "-c",
            ". \"$1\"; . \"$2\"; note through \"$2\"",
            "README",
        ]);
        bash.arg(stand_ins).arg(block).current_dir(self.home());
        bash.env("PATH", self.folder.path().join("bin"));
        bash.env("TAPER", taper()).env("PORT", self.port.to_string());
        bash.env("NOTES", self.folder.path().join("notes"));
        bash.env("VERBS", root().join("xtask/src/main.rs"));
        bash.output().expect("bash starts")
    }

    /// Runs a block, which must go through to its end.
    fn run(&self, block: &Block, commands: &str) {
        let before = self.notes().len();
        let output = self.bash(commands);
        let notes = self.notes();
        for line in &notes[before..] {
            println!("{line}");
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success() && notes.last().is_some_and(|last| last.starts_with("through")),
            "README.md:{}: {}\n{commands}\n{}\n{}",
            block.line,
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}

#[test]
fn a_command_that_nothing_here_knows_or_that_fails_is_noticed() {
    let place = Place::new();
    for wrong in [
        "npx taper",
        "taper run demo --out",
        "taper run demo --sett seeds=[0] --out runs/wrong",
        "taper eval nowhere\ntaper presets",
        "cargo xtask demonstrate",
        "taper run imagenet-resnet50-half --set teacher.factors=2 --out runs/wrong",
        "exit 0",
    ] {
        let through = |notes: Vec<String>| notes.iter().any(|note| note.starts_with("through"));
        let output = place.bash(wrong);
        assert!(!output.status.success() || !through(place.notes()), "{wrong}");
        assert!(!through(place.notes()), "{wrong}");
    }
}

#[test]
fn commands_run_as_they_are_written() {
    let place = Place::new();
    fixtures::write_teacher(&place.home());
    let mut standing: BTreeSet<&str> = PLACEHOLDERS.iter().map(|(word, _)| *word).collect();
    for block in of(&["sh", "yaml"]) {
        let mut commands = block.text.clone();
        if block.language == "yaml" {
            commands = of_pod(&commands);
        }
        for (word, here) in PLACEHOLDERS {
            if commands.contains(word) {
                standing.remove(word);
                commands = commands.replace(word, here);
            }
        }
        place.run(&block, &commands);
    }
    assert!(standing.is_empty(), "README has no {standing:?} any more");
    let of = |note: &String| note.split('\t').next().unwrap_or_default().to_owned();
    let rules: BTreeSet<String> = place.notes().iter().map(of).collect();
    let all = ["inspected", "known verb", "not run", "ran", "served", "shortened", "through"];
    assert_eq!(rules.into_iter().collect::<Vec<_>>(), all, "a rule that nothing needs");
}

/// A whole file begins with its name; of a part, each key is set in the demo.
#[test]
fn configurations_are_understood() {
    let place = Place::new();
    for block in of(&["toml"]) {
        let name = block.text.strip_prefix("# ").and_then(|text| text.split_once(':'));
        let mut command = "taper inspect".to_owned();
        if let Some((name, _)) = name.filter(|(name, _)| name.ends_with(".toml")) {
            fs::write(place.home().join(name), &block.text).expect("written");
            command += &format!(" {name}");
        } else {
            command += " demo";
            let table: Table = block.text.parse().expect("TOML");
            for (section, keys) in &table {
                let Value::Table(keys) = keys else { panic!("`{section}` is no section") };
                // Another architecture would take the place of the keys before it.
                let (first, rest): (Vec<_>, Vec<_>) =
                    keys.iter().partition(|(key, _)| *key == "arch");
                for (key, value) in first.into_iter().chain(rest) {
                    command += &format!(" --set '{section}.{key}={value}'");
                }
            }
        }
        place.run(&block, &command);
    }
}

/// What a block of Python or JavaScript opens, and what runs it.
struct Snippet {
    /// Words that only this block has.
    of: &'static str,
    program: fn() -> Option<Command>,
    /// Code that the text around the block has said.
    before: &'static str,
    /// What has to hold after it.
    after: &'static str,
    model: fn() -> engine::formats::ModelFolder,
}

fn python(found: Option<PathBuf>) -> Option<Command> {
    found.map(Command::new)
}

const SNIPPETS: [Snippet; 7] = [
    Snippet {
        of: "torchvision.models.resnet50(",
        program: || python(tools::torch_with("torchvision")),
        before: "import torch\n",
        after: "assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 10)",
        model: fixtures::resnet50,
    },
    Snippet {
        of: "timm.create_model(\"resnet50\"",
        program: || python(tools::torch_with("timm")),
        before: "import torch\n",
        after: "assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 10)",
        model: fixtures::resnet50,
    },
    Snippet {
        of: "class ThinResNet(",
        program: || python(tools::torch_with("torchvision")),
        before: "import torch\n",
        after: "assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 10)",
        model: fixtures::cifar_thin,
    },
    Snippet {
        of: "def student(x)",
        program: || python(tools::torch()),
        before: "",
        after: "assert student(torch.zeros(2, 1, 12, 12)).shape == (2, 10)",
        model: fixtures::demo,
    },
    Snippet {
        of: "onnxruntime.InferenceSession(",
        program: || python(tools::python()),
        before: "import numpy\nimages = numpy.zeros((2, 1, 12, 12), 'float32')\n",
        after: "assert logits.shape == (2, 10)",
        model: fixtures::demo,
    },
    Snippet {
        of: "AutoModelForMaskedLM",
        program: || python(tools::transformers()),
        before: "",
        after: "assert logits.shape[2] == model.config.vocab_size",
        model: || taper_tests::texts::model(None),
    },
    Snippet {
        of: "pipeline(\"fill-mask\", \"artifacts\")",
        program: || {
            let tools::TransformersJs { node, modules } = tools::transformers_js()?;
            let mut node = Command::new(node);
            // A module finds packages beside itself alone: they are linked there.
            node.env("MODULES", modules);
            Some(node)
        },
        before: "import { env } from \"@huggingface/transformers\";\nenv.localModelPath = \".\";\nenv.allowRemoteModels = false;\n",
        after: "",
        model: || taper_tests::texts::model(None),
    },
];

#[test]
fn snippets_open_the_models_that_they_name() {
    for block in of(&["python", "js"]) {
        let mut found = SNIPPETS.iter().filter(|snippet| block.text.contains(snippet.of));
        let at = format!("README.md:{}", block.line);
        let (Some(snippet), None) = (found.next(), found.next()) else {
            panic!("{at}: none or several here know this block:\n{}", block.text)
        };
        let Some(mut program) = (snippet.program)() else {
            eprintln!("{at} is not run");
            continue;
        };
        let home = folder();
        (snippet.model)().write(&home.path().join("artifacts")).expect("written");
        let text = format!("{}{}{}\n", snippet.before, block.text, snippet.after);
        let file = if block.language == "js" { "block.mjs" } else { "block.py" };
        fs::write(home.path().join(file), text).expect("written");
        let modules = program.get_envs().find(|(name, _)| *name == "MODULES");
        if let Some((_, Some(modules))) = modules {
            let modules = Path::new(modules).join("node_modules");
            symlink(modules, home.path().join("node_modules")).expect("linked");
        }
        let output = program.arg(file).current_dir(home.path()).output().expect("it starts");
        assert!(output.status.success(), "{at}: {}", String::from_utf8_lossy(&output.stderr));
        println!("{at} is run");
    }
    for snippet in SNIPPETS {
        let there = of(&["python", "js"]).iter().any(|block| block.text.contains(snippet.of));
        assert!(there, "README has no {} any more", snippet.of);
    }
}
