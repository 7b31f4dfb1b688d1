//! Own pictures on the command line: the preset `pictures` looks at them, chooses what suits them and says why.

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use engine::{
    config::{self, Config, Data, Model, Stem},
    random::Stream,
};
use serde_json::Value;
use support::{folder, taper};

fn command(arguments: &[&str]) -> Output {
    Command::new(taper()).args(arguments).env("NODEVICE_SELECT", "1").output().expect("started")
}

/// Class folders alone: so many pictures of each of two colours.
fn pictures(root: &Path, count: u32, side: u32) {
    let mut stream = Stream::new(&[3]);
    for (class, colour) in [("rose", [200, 20, 60]), ("iris", [60, 20, 200])] {
        let folder = root.join(class);
        fs::create_dir_all(&folder).expect("made");
        for n in 0..count {
            let near = colour.map(|level: u8| level + stream.between(0.0, 40.0) as u8);
            // Photographs are not square.
            image::RgbImage::from_pixel(side + n % 3, side, image::Rgb(near))
                .save(folder.join(format!("{n}.png")))
                .expect("written");
        }
    }
}

#[test]
fn the_preset_says_what_it_chose_and_why() {
    let outside = folder();
    let flowers = outside.path().join("flowers");
    pictures(&flowers, 20, 70);
    let path = format!("data.path={}", flowers.display());
    let inspected = |more: &[&str]| -> Value {
        let output = command(&[&["inspect", "pictures", "--json", "--set", &path], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let whole = inspected(&[]);
    let choice = |whole: &Value, key: &str| {
        let all = whole["choices"].as_array().expect("choices").clone();
        all.into_iter().find(|choice| choice["key"] == key).map(|choice| choice["value"].clone())
    };
    assert_eq!(choice(&whole, "data.size"), Some("64".into()));
    assert_eq!(choice(&whole, "model.stem"), Some("\"imagenet\"".into()));
    assert_eq!((&whole["input"]["size"], &whole["input"]["classes"]), (&64.into(), &2.into()));
    assert_eq!(whole["data"]["used"]["train"], serde_json::json!([16, 16]));
    // What is set counts, and what depends on it goes by it.
    let other = inspected(&["--set", "data.size=24"]);
    assert_eq!(choice(&other, "data.size"), None);
    assert_eq!(choice(&other, "model.stem"), Some("\"cifar\"".into()));
    let shown = command(&["inspect", "pictures", "--set", &path]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("- data.size = 64: the shorter sides have about 70 pixels"), "{shown}");
    // Without pictures it is what its file says; text is refused.
    assert!(command(&["inspect", "pictures"]).status.success());
    fs::write(outside.path().join("story.txt"), "Once.\n").expect("written");
    let text = format!("data.path={}", outside.path().join("story.txt").display());
    let said = command(&["inspect", "pictures", "--set", &text]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("holds text, and the preset pictures reads pictures"), "{said}");
}

#[test]
fn a_run_keeps_what_was_chosen() {
    let outside = folder();
    let (flowers, out) = (outside.path().join("flowers"), outside.path().join("out"));
    pictures(&flowers, 10, 12);
    let path = format!("data.path={}", flowers.display());
    let short = ["wide", "vanilla", "narrow", "tune"].map(|section| format!("{section}.steps=2"));
    let mut arguments = vec!["run", "pictures", "--set", &path, "--set", "wide.warmup=0"];
    for set in
        ["vanilla.warmup=0", "tune.warmup=0"].into_iter().chain(short.iter().map(String::as_str))
    {
        arguments.extend(["--set", set]);
    }
    let to = out.display().to_string();
    arguments.extend(["--out", &to]);
    let output = command(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("data.size = 12: the shorter sides have 12 pixels"), "{said}");
    let kept: Config = config::read(&out.join("config.toml")).expect("a configuration");
    let (Data::Images(data), Model::Resnet(model)) = (&kept.data, &kept.model) else {
        panic!("{kept:?}");
    };
    assert_eq!((data.size, model.stem, kept.vanilla.steps), (Some(12), Stem::Cifar, Some(2)));
    // Other pictures later change nothing of it: a run is resumed by its own file.
    pictures(&flowers, 10, 80);
    let again = command(&["run", "--resume", "--out", &to]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(config::read(&out.join("config.toml")).expect("a configuration"), kept);
}
