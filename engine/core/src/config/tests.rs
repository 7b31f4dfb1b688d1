//! Reading, checking and writing configurations; learning rates against PyTorch's numbers.

use super::*;

fn demo() -> Config {
    Config::preset("demo").expect("the demo preset is valid")
}

/// The sentence of the error that `toml` gives.
fn refused(toml: &str) -> String {
    Config::from_toml(toml, "x.toml").expect_err("must be refused").to_string()
}

fn set_refused(text: &str) -> String {
    demo().with_set(text).expect_err("must be refused").to_string()
}

#[test]
fn every_preset_is_valid_and_survives_writing() {
    for preset in presets::PRESETS {
        let config =
            Config::preset(preset.name).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
        let again =
            Config::from_toml(&config.to_toml(), "written").expect("what is written can be read");
        assert_eq!(config, again, "{}", preset.name);
        assert_eq!(config.hash(), again.hash());
        config.validate().expect("valid");
        assert!(preset.summary().ends_with('.'), "{}", preset.summary());
    }
}

#[test]
fn the_default_is_the_demo_network() {
    let config = Config::from_toml("", "empty").expect("everything has a default");
    assert_eq!(config.model, demo().model);
    assert_eq!(config.wide.epochs, Some(20.0));
}

#[test]
fn equal_student_budgets_in_every_preset_but_the_papers_berts() {
    for preset in presets::PRESETS {
        let config = Config::preset(preset.name).expect("valid");
        let budget = config.vanilla.recipe().length;
        assert_eq!(config.kd.recipe().length, budget, "{}", preset.name);
        let whole = config.start_only_recipe(config.model.block_count(), 8000).length;
        if preset.name.starts_with("bert-base") {
            // The paper's own lengths, which are not equal.
            assert_eq!((budget, whole), (Length::Steps(1_000_000), Length::Steps(1_780_000)));
            continue;
        }
        assert_eq!(whole, budget, "{}", preset.name);
        if !config.methods.contains(&Method::Fitnets) && matches!(config.data, Data::Text(_)) {
            continue;
        }
        let Length::Epochs(fitnets) = config.fitnets.recipe().length else { panic!("epochs") };
        assert_eq!(Length::Epochs(fitnets + config.fitnets.hint_epochs), budget);
    }
}

#[test]
fn unknown_keys_are_named_with_the_nearest() {
    assert_eq!(
        refused("[tune]\nepohcs = 3"),
        "x.toml: unknown key `tune.epohcs`; did you mean `tune.epochs`?"
    );
    assert_eq!(refused("[tnue]\n"), "x.toml: unknown key `tnue`; did you mean `tune`?");
    assert_eq!(set_refused("model.width=0.5"), "--set model.width=0.5: unknown key `model.width`");
    let error = demo().with_set("win.zzzzz=1").expect_err("unknown");
    assert!(
        error.hint().expect("lists the keys").contains("start, discrepancy"),
        "{:?}",
        error.hint()
    );
}

#[test]
fn bad_values_are_named_with_what_is_allowed() {
    for (toml, said) in [
        ("[wide]\nlr = nan", "x.toml: `wide.lr` is nan, but must be at least 0"),
        ("[wide]\nlr = -1", "x.toml: `wide.lr` is -1, but must be at least 0"),
        ("[wide]\nlr = inf", "x.toml: `wide.lr` is inf, but must be at least 0"),
        ("[wide]\nlr = \"fast\"", "x.toml: `wide.lr` is \"fast\", but must be a number"),
        (
            "[narrow]\nbatch = 0",
            "x.toml: `narrow.batch` is 0, but must be at least 1 and at most 1048576",
        ),
        ("[narrow]\nbatch = 1.5", "x.toml: `narrow.batch` is 1.5, but must be a whole number"),
        (
            "[narrow]\nepochs = 0",
            "x.toml: `narrow.epochs` is 0, but must be above 0 and at most 1000000",
        ),
        (
            "split = \"batch\"\n[narrow]\nbatch = 1",
            "x.toml: `narrow.batch` is 1, but must be at least 2 with `split = \"batch\"`",
        ),
        ("split = \"seeds\"", "x.toml: `split` is \"seeds\", but must be one of members, batch"),
        ("seeds = []", "x.toml: `seeds` is [], but must have 1 or more entries"),
        ("seeds = [-1]", "x.toml: `seeds[0]` is -1, but must be at least 0"),
        ("seeds = [1, 1]", "x.toml: `seeds` is a list with 1 twice, but each may stand once"),
        (
            "methods = [\"wim\"]",
            "x.toml: `methods[0]` is \"wim\", but must be one of vanilla, kd, fitnets, embeddings_only, start_only, win",
        ),
        ("[kd]\nalpha = 1.5", "x.toml: `kd.alpha` is 1.5, but must be at least 0 and at most 1"),
        (
            "[win]\nrestarts = 0",
            "x.toml: `win.restarts` is 0, but must be at least 1 and at most 1000",
        ),
        (
            "[tune]\nepochs = 3\nsteps = 4",
            "x.toml: `tune.epochs` is 3, but `tune.steps` is 4 as well; give only one of them",
        ),
        (
            "[tune]\nepochs = 3\nwarmup = 4",
            "x.toml: `tune.warmup` is 4, but the whole stage has 3 epochs",
        ),
        (
            "[vanilla]\nmilestones = [3, 2]",
            "x.toml: `vanilla.milestones` is [3.0, 2.0], but must rise from above 0",
        ),
        (
            "[model]\nhidden = [4]",
            "x.toml: `model.arch` is missing, but must be one of mlp, resnet, resnet50, resnet101, bert",
        ),
        (
            "[model]\narch = \"resnet18\"",
            "x.toml: `model.arch` is \"resnet18\", but must be one of mlp, resnet, resnet50, resnet101, bert",
        ),
        (
            "[model]\narch = \"mlp\"\nhidden = [4, 4, 4]\nblocks = [1, 1]",
            "x.toml: `model.blocks` is [1, 1], but must add up to the 3 layers of `model.hidden`, not to 2",
        ),
        (
            "[model]\narch = \"resnet50\"\nwidth = 0.3",
            "x.toml: `model.width` is 0.3, but must make a whole number of the 64 base channels, not 19.2",
        ),
        (
            "[data]\nmean = [0.5]",
            "x.toml: `data.std` is absent, but `data.mean` is [0.5]; give one number a channel to both or to none",
        ),
        ("[data]\ncrop = 0", "x.toml: `data.crop` is 0, but must be above 0 and at most 1"),
        (
            "[data.augment]\nscale = [0.5, 0.1]",
            "x.toml: `data.augment.scale` is [0.5, 0.1], but must be two rising numbers above 0 up to 1",
        ),
        (
            "[data.augment]\nscale = [0.5]",
            "x.toml: `data.augment.scale` is [0.5], but must have 2 entries",
        ),
    ] {
        assert_eq!(refused(toml), said);
    }
    assert!(
        refused("seeds = [1\n\n[wide]\nlr = 3").starts_with("x.toml:"),
        "{}",
        refused("seeds = [")
    );
    assert_eq!(
        set_refused("wide.lr=nan"),
        "--set wide.lr=nan: `wide.lr` is nan, but must be at least 0"
    );
}

#[test]
fn validate_finds_what_was_put_in_by_hand() {
    let mut config = demo();
    config.wide.lr = f64::NAN;
    let said = config.validate().expect_err("refused").to_string();
    assert_eq!(said, "configuration: `wide.lr` is nan, but must be at least 0");
}

#[test]
fn set_reads_toml_values_and_else_strings() {
    let set = |text| demo().with_set(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(set("tune.lr=0.01").tune.lr, 0.01);
    assert_eq!(set("tune.lr = 1").tune.lr, 1.0);
    assert_eq!(set("seeds=[7, 8]").seeds, [7, 8]);
    assert_eq!(set("win.merge=map").win.merge, Merge::Map);
    assert_eq!(set("win.merge=\"map\"").win.merge, Merge::Map);
    assert_eq!(set("data.path=/some where/x=1").data.path(), Some("/some where/x=1"));
    assert_eq!(set("device=1").device, "1");
    assert_eq!(set("device=llvmpipe").device, "llvmpipe");
    assert!(set_refused("tune.lr").contains("expected KEY=VALUE"));
    assert!(set_refused("=3").contains("expected KEY=VALUE"));
    assert_eq!(
        set_refused("seeds.x=3"),
        "--set seeds.x=3: `seeds` is [0, 1, 2], but has no key `x` below it"
    );
}

#[test]
fn set_trades_epochs_for_steps_and_one_network_for_another() {
    let config = demo().with_set("tune.steps=30").expect("valid");
    assert_eq!(config.tune.recipe().length, Length::Steps(30));
    let draft =
        demo().draft().set("model.arch=resnet50").and_then(|draft| draft.set("model.width=0.5"));
    let config = draft.and_then(Draft::finish).expect("valid");
    assert_eq!(config.model, Model::Resnet50(ResnetOfDepth { width: 0.5, stem: Stem::Imagenet }));
}

#[test]
fn grid_gives_a_labelled_configuration_a_value() {
    let grid = demo().grid("teacher.factor=2,4").expect("valid");
    assert_eq!(grid[0].0, "teacher.factor=2");
    assert_eq!(grid[1].1.teacher.factor, 4);
    for text in ["win.merge=\"maf\",\"map\"", "win.merge=maf,map"] {
        let grid = demo().grid(text).expect("valid");
        assert_eq!(
            grid.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(),
            ["win.merge=maf", "win.merge=map"]
        );
        assert_eq!(grid[1].1.win.merge, Merge::Map);
    }
    let grid = demo().grid("seeds=[1, 2],[3]").expect("valid");
    assert_eq!(grid[0].1.seeds, [1, 2]);
    assert!(demo().grid("win.merge=maf,mop").is_err());
}

#[test]
fn presets_are_found_and_misspelt_ones_suggested() {
    let said = Config::preset("dmeo").expect_err("no such preset").to_string();
    assert_eq!(said, "unknown preset or file `dmeo`; did you mean `demo`?");
}

#[test]
fn the_papers_presets_state_one_deviation() {
    for preset in presets::PRESETS.iter().filter(|preset| preset.name.starts_with("imagenet")) {
        let config = Config::preset(preset.name).expect("valid");
        let deviations = presets::deviations(&config);
        assert_eq!(deviations.len(), 1, "{}: {deviations:?}", preset.name);
        assert!(deviations[0].starts_with("win.start = \"greedy\""));
        let letter = config.with_set("win.start=random").expect("valid");
        assert_eq!(presets::deviations(&letter), Vec::<String>::new());
        let changed = letter.with_set("tune.lr=0.02").expect("valid");
        assert_eq!(presets::deviations(&changed), ["tune.lr = 0.02; the paper has 0.01"]);
    }
    assert_eq!(presets::deviations(&demo()), Vec::<String>::new());
}

#[test]
fn the_papers_berts_state_the_start_and_the_heads() {
    let heads =
        "teacher.factor = 2 widens the attention heads, too; the paper widens hidden size and FFN";
    for name in ["bert-base", "bert-base-half"] {
        let config = Config::preset(name).expect("valid");
        let deviations = presets::deviations(&config);
        assert_eq!(deviations.len(), 2, "{name}: {deviations:?}");
        assert!(deviations[0].starts_with("win.start = \"greedy\"") && deviations[1] == heads);
        let letter = config.with_set("win.start=random").expect("valid");
        assert_eq!(presets::deviations(&letter), [heads]);
        let equal = letter.with_set("vanilla.steps=1780000").expect("valid");
        assert_eq!(
            presets::deviations(&equal),
            ["vanilla.steps = 1780000; the paper has 1000000", heads]
        );
        let short = letter.with_set("text.length=128").expect("valid");
        assert_eq!(presets::deviations(&short), ["text.length = 128; the paper has 512", heads]);
        let thin = letter.with_set("teacher.factor=1").expect("valid");
        assert_eq!(presets::deviations(&thin), ["teacher.factor = 1; the paper has 2"]);
        // Their steps, and those of the method that is ours.
        let steps = |method| -> u64 {
            let stages = crate::win::algorithm::stages(&config, method, 1_000_000);
            stages.iter().map(|stage| stage.steps).sum()
        };
        let own = [Method::Vanilla, Method::Kd, Method::StartOnly, Method::Win].map(steps);
        assert_eq!(own, [1_000_000, 1_000_000, 1_780_000, 1_780_000]);
        // Another network, and another task.
        let other = config.with_set("model.inner=1024").expect("valid");
        assert_eq!(presets::deviations(&other), Vec::<String>::new());
        let tuned = config.draft().set("data.kind=squad").and_then(|d| d.set("text.nsp=false"));
        let tuned = tuned.and_then(|d| d.set(r#"methods=["vanilla"]"#)?.finish()).expect("valid");
        assert_eq!(presets::deviations(&tuned), Vec::<String>::new());
    }
    let tiny = Config::preset("bert-tiny").expect("valid");
    assert_eq!(presets::deviations(&tiny), Vec::<String>::new());
}

#[test]
fn start_only_has_the_whole_student_budget() {
    let mut config = demo();
    config.narrow.epochs = None;
    config.narrow.steps = Some(100);
    let narrow_in_epochs = 4.0 * 100.0 / 125.0;
    assert_eq!(config.start_only_recipe(4, 8000).length, Length::Epochs(12.0 + narrow_in_epochs));
    config.tune.epochs = None;
    config.tune.steps = Some(50);
    assert_eq!(config.start_only_recipe(4, 8000).length, Length::Steps(450));
    // Every restart counts.
    (config.win.restarts, config.win.tune_restarts) = (3, 2);
    assert_eq!(config.start_only_recipe(4, 8000).length, Length::Steps(1300));
    config.start_only.lr = Some(0.5);
    assert_eq!(config.start_only_recipe(4, 8000).lr, 0.5);
}

#[test]
fn stock_resnets_spell_out_their_units() {
    let config = Config::preset("imagenet-resnet101-half").expect("valid");
    let resnet = config.model.resnet().expect("a residual network");
    assert_eq!((resnet.blocks, resnet.width, resnet.base), (vec![3, 4, 23, 3], 0.5, 64));
}

fn recipe(toml: &str) -> Recipe {
    Config::from_toml(&format!("[vanilla]\n{toml}"), "test").expect("valid").vanilla.recipe()
}

fn near(got: f64, want: f64) {
    assert!((got - want).abs() < 1e-12, "got {got}, want {want}");
}

#[test]
fn the_papers_step_schedule() {
    // MultiStepLR([30, 60, 80], 0.1) after five epochs of warm-up, 10 steps an epoch.
    let recipe = recipe(
        "epochs = 90\nlr = 0.1\nschedule = \"step\"\nmilestones = [30, 60, 80]\nwarmup = 5\nbatch = 256",
    );
    for (step, lr) in
        [(0, 0.0), (25, 0.05), (50, 0.1), (299, 0.1), (300, 0.01), (600, 1e-3), (800, 1e-4)]
    {
        near(recipe.lr_at(step, recipe.steps(10), 10), lr);
    }
    assert_eq!((recipe.steps(10), recipe.steps_per_epoch(1000)), (900, 3));
}

#[test]
fn cosine_is_cosine_annealing_lr() {
    // torch.optim.lr_scheduler.CosineAnnealingLR(T_max=8) at lr 0.1, steps 0, 2, 4, 6, 7.
    let recipe = recipe("steps = 8\nlr = 0.1");
    for (step, lr) in [
        (0, 0.1),
        (2, 0.085_355_339_059_327_38),
        (4, 0.05),
        (6, 0.014_644_660_940_672_63),
        (7, 0.003_806_023_374_435_663_5),
        (8, 0.0),
    ] {
        near(recipe.lr_at(step, recipe.steps(999), 999), lr);
    }
}

#[test]
fn warm_up_may_be_a_fraction_of_an_epoch() {
    // transformers' get_cosine_schedule_with_warmup(50, 1500).
    let recipe = recipe("epochs = 12\nlr = 3e-3\nwarmup = 0.4");
    near(recipe.lr_at(0, recipe.steps(125), 125), 0.0);
    near(recipe.lr_at(20, recipe.steps(125), 125), 1.2e-3);
    near(recipe.lr_at(50, recipe.steps(125), 125), 3e-3);
    near(recipe.lr_at(775, recipe.steps(125), 125), 1.5e-3);
    near(recipe.lr_at(1500, recipe.steps(125), 125), 0.0);
}

#[test]
fn linear_decay_and_constant() {
    let line = recipe("steps = 100\nlr = 1\nschedule = \"linear\"\nwarmup = 20");
    near(line.lr_at(10, 100, 1), 0.5);
    near(line.lr_at(60, 100, 1), 0.5);
    near(line.lr_at(99, 100, 1), 0.0125);
    let flat = recipe("steps = 100\nlr = 0.3\nschedule = \"constant\"");
    near(flat.lr_at(0, 100, 1), 0.3);
    near(flat.lr_at(99, 100, 1), 0.3);
}

#[test]
fn a_stage_has_at_least_one_step() {
    assert_eq!(recipe("epochs = 0.001").steps(10), 1);
    assert_eq!(recipe("epochs = 0.75\nbatch = 128").steps(78), 59);
}

#[test]
fn the_schema_carries_descriptions_units_and_defaults() {
    let schema = Config::schema();
    let lr = &schema["$defs"]["Tune"]["properties"]["lr"];
    assert!(lr["description"].as_str().is_some_and(|text| text.contains("The paper")));
    assert_eq!(lr["default"], 3e-3);
    assert_eq!(schema["$defs"]["Tune"]["properties"]["epochs"]["x-unit"], "epochs");
}

#[test]
fn lists_and_sizes_have_an_end() {
    fn bounded(schema: &serde_json::Value, path: &str, missing: &mut Vec<String>) {
        let serde_json::Value::Object(map) = schema else {
            if let serde_json::Value::Array(items) = schema {
                items.iter().for_each(|item| bounded(item, path, missing));
            }
            return;
        };
        let is = |name: &str| match map.get("type") {
            Some(serde_json::Value::Array(types)) => types.iter().any(|of| of == name),
            Some(of) => of == name,
            None => false,
        };
        if is("array") && !map.contains_key("maxItems") {
            missing.push(path.to_owned());
        }
        for (key, value) in map {
            bounded(value, &format!("{path}/{key}"), missing);
        }
    }
    let mut missing = Vec::new();
    bounded(&Config::schema(), "", &mut missing);
    assert_eq!(missing, Vec::<String>::new(), "lists without an end");

    let refused = |toml: &str| Config::from_toml(toml, "test").expect_err(toml).to_string();
    let long = format!("[model]\narch = \"mlp\"\nhidden = {:?}\nblocks = [1000]", vec![1; 1001]);
    for (toml, said) in [
        (
            "[model]\narch = \"resnet\"\nblocks = [1000000]",
            "`model.blocks[0]` is 1000000, but must be at least 1 and at most 1000",
        ),
        (
            "[model]\narch = \"resnet\"\nblocks = [600, 600]",
            "`model.blocks` is a network of 1200 units, but may have at most 1000 in all",
        ),
        (
            "[model]\narch = \"resnet\"\nbase = 65536",
            "`model.base` is 65536, but may make at most 65536 channels behind the last stage, not 2097152",
        ),
        (
            "[model]\narch = \"resnet50\"\nwidth = 64.0",
            "`model.width` is 64, but may make at most 65536 channels behind the last stage, not 131072",
        ),
        (
            "[model]\narch = \"mlp\"\nhidden = [4294967295]\nblocks = [1]",
            "`model.hidden[0]` is 4294967295, but must be at least 1 and at most 65536",
        ),
        (&long, "`model.hidden` is a list of 1001, but must have at most 1000 entries"),
        (
            "[data]\nsize = 4096",
            "`wide.batch` is 64, but may be at most 10 where `data.size` is 4096: a batch has at most 536870912 numbers",
        ),
        (
            "[tune]\nepochs = 10000000",
            "`tune.epochs` is 10000000, but must be above 0 and at most 1000000",
        ),
    ] {
        let error = refused(toml);
        assert!(error.contains(said), "{error}");
    }
    let seeds: Vec<u64> = (0..1000).collect();
    let many = format!(
        "seeds = {seeds:?}\n[model]\narch = \"mlp\"\nhidden = {:?}\nblocks = {:?}",
        vec![1; 200],
        vec![1; 200]
    );
    assert!(refused(&many).contains("`seeds` is a list of 1000, but with 210 stages"));
    // What is allowed is large.
    let deep = format!(
        "[model]\narch = \"mlp\"\nhidden = {:?}\nblocks = {:?}",
        vec![10; 900],
        vec![3; 300]
    );
    Config::from_toml(&deep, "test").expect("three hundred blocks");
    Config::from_toml("[model]\narch = \"resnet\"\nblocks = [1000]", "test").expect("deep");
}

#[test]
fn outputs_are_followed_where_a_teacher_is() {
    let config = demo().with_set("win.discrepancy=relative_mse+output").expect("valid");
    assert_eq!(config.win.discrepancy, Discrepancy::RelativeMseOutput);
    assert!(set_refused("win.output_weight=0").contains("win.output_weight"));
    assert!(demo().with_set("tune.alpha=0.5").is_ok());
    let labels = demo().with_set("tune.target=labels").expect("valid");
    for key in ["tune.alpha=0.5", "tune.temperature=4"] {
        let error = labels.with_set(key).expect_err("must be refused").to_string();
        assert!(error.contains("belongs to `tune.target = \"teacher\"`"), "{error}");
    }
    let text = Config::preset("bert-demo").expect("a preset");
    assert!(text.with_set("win.discrepancy=output").is_ok());
    let error = text.with_set("win.discrepancy=relative_mse+output").expect_err("refused");
    assert!(error.to_string().contains("is for pictures"), "{error}");
}
